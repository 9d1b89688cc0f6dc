from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from libs.runtime.errors import Broken
from libs.schemas import topics
from libs.schemas.events import MODEL_OF_TYPE
from libs.schemas.topics import TopicSpec

SERVICES = {"identity", "metering", "quota", "invoicing", "evidence"}
SPECS = list(topics.registry().values())
FILES = sorted(topics.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_topics_file_is_called_like_the_topic(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["name"] == path.stem


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_topics_owner_and_consumers_are_services(spec: TopicSpec) -> None:
    assert {spec.owner, *spec.consumers} <= SERVICES


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_topic_is_read_by_someone_and_keeps_a_week_or_all(spec: TopicSpec) -> None:
    assert spec.consumers
    assert (spec.retention_h is None) == (spec.cleanup == "compact")


def test_every_event_type_travels_on_exactly_one_topic() -> None:
    carried = [event_type for spec in SPECS for event_type in spec.types]
    assert sorted(carried) == sorted(MODEL_OF_TYPE)


def test_a_dead_letter_topic_takes_the_largest_record_and_its_reason() -> None:
    spec = topics.topic("usage-windows")
    dead = topics.dead_letter_spec(spec)
    assert dead.name == "usage-windows-dlq"
    assert dead.max_record_bytes > spec.max_record_bytes


def test_an_unknown_topic_is_our_own_mistake() -> None:
    with pytest.raises(Broken, match="proto/topics"):
        topics.topic("usage-evnts")


def test_an_unknown_key_in_a_topics_file_is_refused() -> None:
    with pytest.raises(ValidationError, match="retention_hours"):
        TopicSpec.model_validate(
            {"name": "x", "owner": "a", "purpose": "b", "key": "c", "partitions": 1, "retention_hours": 1}
        )
