from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from deploy.contracts.asyncapi import asyncapi
from libs.bus.acls import Operation, acls_of
from libs.runtime.errors import Broken
from libs.schemas import topics
from libs.schemas.events import MODEL_OF_TYPE, ChangeRecorded
from libs.schemas.topics import TopicSpec

SERVICES = {"identity", "metering", "quota", "invoicing", "evidence"}
DEPRECATION = timedelta(days=90)  # longer than any topic keeps a record
SPECS = list(topics.registry().values())
FILES = sorted(topics.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_topics_file_is_called_like_the_topic(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["name"] == path.stem


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_topics_owner_and_consumers_are_services(spec: TopicSpec) -> None:
    assert {spec.owner, *spec.consumers} <= SERVICES


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_topic_is_read_by_someone_and_keeps_its_records_longer_than_the_longest_outage_or_for_ever(
    spec: TopicSpec,
) -> None:
    assert spec.consumers
    assert (spec.retention_h is None) == (spec.cleanup == "compact")
    assert spec.retention_h is None or spec.retention_h > topics.LONGEST_OUTAGE_H


def test_the_longest_outage_promised_is_a_week() -> None:
    assert topics.LONGEST_OUTAGE_H == 7 * 24


def test_a_retention_within_the_longest_outage_is_refused() -> None:
    with pytest.raises(ValidationError, match="retention_h"):
        TopicSpec.model_validate(
            {"name": "x", "owner": "a", "purpose": "b", "key": "c", "partitions": 1, "retention_h": 168}
        )


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_topic_has_a_dead_letter_topic_of_the_operator_that_outlives_it(spec: TopicSpec) -> None:
    dead = topics.dead_letter_spec(spec)
    assert spec.dead_letter
    assert (dead.name, dead.owner, dead.cleanup) == (f"{spec.name}-dlq", topics.OPERATOR, "delete")
    assert (dead.retention_h or 0) > (spec.retention_h or 0)
    assert dead.max_record_bytes > spec.max_record_bytes


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_who_sets_letters_aside_is_said_alike_by_registry_rights_and_document(spec: TopicSpec) -> None:
    dead = topics.dead_letter_spec(spec)
    rights = [acl for acl in acls_of(SPECS) if acl.name == dead.name]
    said = {name for name in asyncapi()["operations"] if name.endswith(f".{dead.name}")}
    assert set(dead.producers) == set(spec.consumers)
    assert {acl.user for acl in rights} == {acl.user for acl in rights if acl.operation is Operation.WRITE}
    assert {acl.user for acl in rights} == set(dead.producers)
    assert said == {f"{one}.sends.{dead.name}" for one in dead.producers} | {f"operator.receives.{dead.name}"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_topic_carries_events_of_ours_or_says_under_format_what_else(spec: TopicSpec) -> None:
    assert bool(spec.types) != bool(spec.format)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_deprecated_version_has_a_successor_and_time_to_reach_it(spec: TopicSpec) -> None:
    named = {(name, one.replaced_by) for name, one in spec.deprecated.items()}
    types = {(event_type, other) for event_type in spec.types for other in set(MODEL_OF_TYPE) - {event_type}}
    logins = {(name, other.name) for name in (*spec.consumers, *spec.producers) for other in SPECS}
    assert named <= types | logins
    assert all(one.removable_on - one.deprecated_on >= DEPRECATION for one in spec.deprecated.values())


@pytest.mark.parametrize("event_type", sorted(MODEL_OF_TYPE))
def test_an_event_type_says_noun_past_tense_and_version(event_type: str) -> None:
    assert re.fullmatch(r"maestro\.[a-z_]+\.[a-z]+ed\.v[1-9][0-9]*", event_type)


AUDIT = {f"{name}-audit": name for name in ("identity", "metering", "quota", "invoicing", "evidence")}


def test_every_event_type_travels_on_exactly_one_topic_but_changes_on_their_owners() -> None:
    carried = [event_type for spec in SPECS if spec.name not in AUDIT for event_type in spec.types]
    assert sorted([*carried, ChangeRecorded.TYPE]) == sorted(MODEL_OF_TYPE)


def test_each_service_that_people_change_says_so_on_a_topic_of_its_own_to_evidence_alone() -> None:
    audits = {spec.name: spec for spec in SPECS if ChangeRecorded.TYPE in spec.types}
    assert {name: spec.owner for name, spec in audits.items()} == AUDIT
    assert {(spec.consumers, spec.types) for spec in audits.values()} == {(("evidence",), (ChangeRecorded.TYPE,))}


def test_an_unknown_topic_is_our_own_mistake() -> None:
    with pytest.raises(Broken, match="proto/topics"):
        topics.topic("usage-evnts")


def test_an_unknown_key_in_a_topics_file_is_refused() -> None:
    with pytest.raises(ValidationError, match="retention_hours"):
        TopicSpec.model_validate(
            {"name": "x", "owner": "a", "purpose": "b", "key": "c", "partitions": 1, "retention_hours": 1}
        )
