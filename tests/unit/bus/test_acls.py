"""What a topic's file allows, and what counts as drift."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.bus.acls import Acl, Operation, Pattern, Resource, acls_of, drift
from libs.schemas.topics import TopicSpec

TOPIC = TopicSpec(
    name="parcels",
    owner="sending",
    consumers=("billing",),
    purpose="a test",
    key="any",
    partitions=1,
    retention_h=240,
)
SCANS = TOPIC.model_copy(update={"name": "scans", "producers": ("scanner",)})
WRITE, READ = Operation.WRITE, Operation.READ


def on(user: str, operation: Operation, name: str) -> Acl:
    return Acl(user, operation, Resource.TOPIC, name)


def group_of(service: str) -> Acl:
    return Acl(service, READ, Resource.GROUP, f"maestro.{service}.", Pattern.PREFIXED)


def name_of(service: str) -> Acl:
    return Acl(service, WRITE, Resource.TRANSACTIONAL_ID, f"maestro.{service}.", Pattern.PREFIXED)


def test_owners_write_consumers_read_and_set_dead_letters_aside() -> None:
    assert acls_of([TOPIC]) == {
        *(on("sending", WRITE, "parcels"), on("sending", READ, "parcels"), group_of("sending"), name_of("sending")),
        *(on("billing", READ, "parcels"), group_of("billing"), name_of("billing")),
        *(on("billing", WRITE, "parcels-dlq"), on("billing", READ, "parcels-dlq")),
    }


def test_without_dead_letters_there_is_no_right_to_them() -> None:
    plain = acls_of([TOPIC.model_copy(update={"dead_letter": False})])

    assert [acl for acl in plain if acl.name == "parcels-dlq"] == []


def test_a_producer_only_writes_and_only_where_its_kind_is_named() -> None:
    users = ("scanner", "scanner.gate-7", "scanners", "camera.gate-7")

    made = acls_of([SCANS], users) - acls_of([SCANS])

    assert made == {on("scanner", WRITE, "scans"), on("scanner.gate-7", WRITE, "scans")}


def test_the_owner_only_reads_what_producers_write() -> None:
    assert {acl.operation for acl in acls_of([SCANS]) if acl.name == "scans"} == {READ}


@pytest.mark.parametrize(
    "extra",
    [
        on("billing", WRITE, "parcels"),
        on("a-stranger", READ, "parcels"),
        on("billing", READ, "anything"),
        replace(group_of("billing"), name="maestro."),
        replace(group_of("billing"), user="a-stranger"),
        replace(name_of("billing"), user="a-stranger"),
        on("scanner", READ, "anything"),
    ],
    ids=str,
)
def test_what_nobody_asked_for_is_extra(extra: Acl) -> None:
    found = drift([TOPIC, SCANS], acls_of([TOPIC, SCANS], ["scanner"]) | {extra}, ["scanner"])

    assert (found.missing, found.extra) == (frozenset(), frozenset({extra}))


def test_what_is_asked_for_and_absent_is_missing() -> None:
    found = drift([TOPIC], acls_of([TOPIC]) - {group_of("billing")}, ())

    assert found.missing == {group_of("billing")}


def test_the_rights_of_others_are_no_drift() -> None:
    others = {on("payroll", WRITE, "salaries"), Acl("payroll", READ, Resource.GROUP, "payroll")}

    assert not drift([TOPIC], acls_of([TOPIC]) | others, ())
