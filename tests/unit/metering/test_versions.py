"""Versions of meters: each event is counted by the meters of its own time, and no edge drops what it cannot know."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from libs.schemas.values import EPOCH, GRAIN, from_microseconds, microseconds
from services.metering.domain.events import Attributes, Kind
from services.metering.domain.meters import Aggregation, Amount, Counted, Match, Metadata, MeterDocument, MeterSpec
from services.metering.domain.spans import from_protobuf
from services.metering.domain.versions import (
    LEASE,
    SINCE_EVER,
    SLACK,
    MeterBook,
    MeterVersion,
    check_follows,
    earliest,
)
from services.metering.errors import BadMeter
from tests.support.metering import NOON_US, QUARTER_US, export, graphql_span, intake, usage

NOON = from_microseconds(NOON_US)


def version(
    name: str, number: int, begins: datetime, *, attribute: str = "maestro.n", retired: bool = False
) -> MeterVersion:
    spec = MeterSpec(aggregation=Aggregation.SUM, amount=Amount(attribute=attribute))
    document = MeterDocument(kind="Meter", metadata=Metadata(name=name, version=number), spec=spec)
    return MeterVersion(document, begins, retired)


@given(
    steps=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    retired=st.sets(st.integers(0, 5)),
    at=st.integers(-(10**6), 300 * QUARTER_US),
)
def test_an_event_counts_by_the_version_that_is_in_force_at_its_time(
    steps: list[int], retired: set[int], at: int
) -> None:
    begins, versions = NOON, []
    for index, step in enumerate(steps):
        begins += step * GRAIN
        versions.append(version("m", index + 1, begins, attribute=f"maestro.a{index}", retired=index in retired))
    book = MeterBook(versions)
    time_us = NOON_US + at
    in_force = [index for index, one in enumerate(versions) if microseconds(one.effective_from) <= time_us][-1:]
    attributes: Attributes = {f"maestro.a{index}": index + 1 for index in range(len(steps))}
    event = structs.replace(usage(time_us=time_us), attributes=attributes)
    expected = [Counted("m", index + 1) for index in in_force if index not in retired]
    assert list(book.outcomes(event)) == expected


def test_what_is_read_later_is_seen_by_whoever_holds_the_book() -> None:
    book = MeterBook([version("m", 1, SINCE_EVER)])
    book.read([version("m", 1, SINCE_EVER), version("other", 1, SINCE_EVER)], 7)
    assert book.epoch == 7
    assert [one.metric for one in book.outcomes(usage(n=1)) if isinstance(one, Counted)] == ["m", "other"]
    assert set(book.by_metric) == {"m", "other"}


@given(now=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001 - made aware below
def test_the_earliest_start_is_a_quarter_of_an_hour_that_no_edge_reaches_within_its_lease(now: datetime) -> None:
    created_at = now.replace(tzinfo=EPOCH.tzinfo)
    begins = earliest(created_at)
    assert (begins - EPOCH) % GRAIN == timedelta(0)
    assert timedelta(minutes=15) + LEASE + SLACK <= begins - created_at < timedelta(minutes=30) + LEASE + SLACK


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (version("m", 2, NOON + timedelta(minutes=5)), "quarter of an hour"),
        (version("m", 2, SINCE_EVER), "comes later"),
        (
            MeterVersion(
                MeterDocument(
                    kind="Meter",
                    metadata=Metadata(name="m", version=2),
                    spec=MeterSpec(aggregation=Aggregation.COUNT, match=Match(types=("x",))),
                ),
                NOON,
            ),
            "aggregation",
        ),
    ],
)
def test_what_would_change_the_meaning_of_totals_is_refused(changed: MeterVersion, why: str) -> None:
    with pytest.raises(BadMeter, match=why):
        check_follows(changed, version("m", 1, SINCE_EVER))


def test_an_edge_may_leave_out_only_within_its_lease() -> None:
    book = MeterBook()
    assert not book.may_leave_out(0.0)
    book.note_read(100.0)
    assert book.may_leave_out(100.0 + LEASE.total_seconds() - 0.001)
    assert not book.may_leave_out(100.0 + LEASE.total_seconds())


def test_an_edge_beyond_its_lease_passes_on_spans_that_no_meter_it_knows_looks_at() -> None:
    known = MeterBook([version("m", 1, SINCE_EVER)])
    body = export([graphql_span()]).SerializeToString()
    assert intake(meters=known).spans(from_protobuf(body)).unmetered_count == 1
    passed = intake(meters=known, may_leave_out=False).spans(from_protobuf(body))
    assert [event.kind for event in passed.events] == [Kind.SPAN_SERVER]
    assert not passed.rejected


def test_an_edge_beyond_its_lease_leaves_out_spans_of_nobody() -> None:
    known = MeterBook([version("m", 1, SINCE_EVER)])
    body = export([graphql_span(attributes={"maestro.tenant.id": None})]).SerializeToString()
    taken = intake(meters=known, may_leave_out=False).spans(from_protobuf(body))
    assert (taken.unmetered_count, taken.events, taken.rejected) == (1, [], [])
