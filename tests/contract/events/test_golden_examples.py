"""Every version of every event that was ever published is decoded by today's code, and says today what it said then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from deploy.contracts.baseline import read_baseline
from deploy.contracts.event_schemas import event_schemas
from deploy.contracts.promises import examples
from libs.bus.envelope import decode, meta_of
from libs.runtime.names import service_source
from libs.schemas.cloudevents import structured
from libs.schemas.events import MODEL_OF_TYPE
from libs.schemas.topics import registry
from tests.support.golden import FILES, FOLDER, name_of, read, record_of

EVERY_EXAMPLE = pytest.mark.parametrize("path", FILES, ids=name_of)
TOPIC_OF = {event_type: spec for spec in registry().values() for event_type in spec.types}
SCHEMAS = event_schemas()


def test_every_event_type_has_an_example_and_no_example_is_of_an_unknown_one() -> None:
    assert sorted(MODEL_OF_TYPE) == sorted({path.parent.name for path in FILES})


def test_nothing_but_examples_lies_among_the_examples() -> None:
    assert [path for path in FOLDER.rglob("*") if path.is_file() and path not in FILES] == []


@EVERY_EXAMPLE
def test_an_example_is_a_cloudevent_of_an_owner_of_its_topic(path: Path) -> None:
    event = structured(read(path))
    assert event.type == path.parent.name
    assert event.source in {service_source(spec.owner) for spec in registry().values() if event.type in spec.types}


@EVERY_EXAMPLE
def test_todays_code_decodes_it_and_says_the_same_again(path: Path) -> None:
    event = read(path)
    received = decode(record_of(event, TOPIC_OF[event["type"]].name), MODEL_OF_TYPE[event["type"]])
    assert json.loads(received.data.model_dump_json(exclude_unset=True)) == event["data"]


@EVERY_EXAMPLE
def test_its_attributes_are_read_from_the_headers(path: Path) -> None:
    event = read(path)
    meta = meta_of(record_of(event, TOPIC_OF[event["type"]].name))
    assert (meta.id, meta.source, meta.type, meta.subject) == tuple(
        event[name] for name in ("id", "source", "type", "subject")
    )


@EVERY_EXAMPLE
def test_it_fits_the_published_schema(path: Path) -> None:
    event = read(path)
    faults = Draft202012Validator(SCHEMAS[event["type"]]).iter_errors(event["data"])
    assert [error.message for error in faults] == []


@pytest.mark.parametrize("event_type", sorted(SCHEMAS))
def test_every_field_of_an_event_stands_in_one_of_its_examples(event_type: str) -> None:
    shown = {name for path in FILES if path.parent.name == event_type for name in read(path)["data"]}
    assert shown == set(SCHEMAS[event_type]["properties"])


def test_examples_that_were_released_are_never_changed() -> None:
    now = examples()
    assert {path: now.get(path) for path in read_baseline()["examples"]} == read_baseline()["examples"]
