"""What corrections change, as values: together they bring the totals to what the events count now."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.correcting import (
    ALREADY_VOID,
    Correction,
    Decision,
    Last,
    as_corrected,
    changes,
    corrected,
    decide,
    effects,
    read,
    written,
)
from services.metering.domain.events import Attributes, UsageEvent
from services.metering.domain.folding import ClosedPeriod, exact_sum, fold
from tests.support.metering import ALICE, NOON_US, QUARTER_US, default_meters, usage

METERS = default_meters()
AMOUNTS = st.one_of(
    st.none(), st.decimals("0", "999999999999999999", places=12), st.integers(0, 10**17), st.just("1e-12")
)
CLOSED = ClosedPeriod(ALICE, "close-1", "2025-11", NOON_US - 30 * 96 * QUARTER_US, NOON_US + QUARTER_US)


def of(event: UsageEvent, attributes: Attributes | None) -> Correction:
    """A void without attributes, else an amendment."""
    return Correction(UUID(int=1), ALICE, event.key, event.digest, event.time_us, *last_of(attributes))


def last_of(attributes: Attributes | None) -> Last:
    return ("void", None) if attributes is None else ("amend", attributes)


def ingested(amount: object) -> Attributes | None:
    return None if amount is None else {"maestro.ingest.events": str(amount)}


def decided(event: UsageEvent, amounts: list[object]) -> list[Decision]:
    """The decisions over corrections to these amounts (None: a void), one after the other."""
    found: list[Decision] = []
    stands: UsageEvent | None = event
    for amount in amounts:
        correction = of(event, ingested(amount))
        found.append(decide(correction, event, stands, METERS))
        if found[-1].refused is None:
            stands = found[-1].after
    return found


@given(st.lists(AMOUNTS, max_size=8), st.integers(0, 10**17))
def test_whatever_is_corrected_the_totals_are_what_the_event_counts_now(amounts: list[object], first: int) -> None:
    event = usage(ingest_events=first)
    total: int | Decimal = first
    for one in decided(event, amounts):
        for amount in changes([one] if one.refused is None else [], METERS, {}).sums.values():
            total = exact_sum(total, amount)
    last = amounts[-1] if amounts else first
    assert total == (0 if last is None else Decimal(str(last)))


@given(st.lists(AMOUNTS, max_size=8), st.integers(0, 10**17))
def test_after_a_close_the_same_comes_as_adjustments(amounts: list[object], first: int) -> None:
    event = usage(ingest_events=first)
    changed = [changes([one], METERS, {ALICE: [CLOSED]}) for one in decided(event, amounts) if one.refused is None]
    last = amounts[-1] if amounts else first
    expected = Decimal(0 if last is None else str(last)) - first
    assert sum((Decimal(one.amount) for found in changed for one in found.adjustments), Decimal(0)) == expected
    assert [found.sums for found in changed if found.sums] == []


@given(st.lists(AMOUNTS, min_size=1, max_size=8), st.integers(0, 10**17))
def test_replaying_with_the_last_correction_is_what_was_counted(amounts: list[object], first: int) -> None:
    event = usage(ingest_events=first)
    last = last_of(ingested(amounts[-1]))
    replayed = fold(as_corrected([event], {(event.key, event.time_us): last}), METERS, {})
    stands = corrected(event, last)
    assert replayed.sums == fold([stands] if stands else [], METERS, {}).sums


def test_a_correction_of_an_event_that_had_the_id_before_is_not_one_of_this() -> None:
    event = usage(ingest_events=1)
    assert list(as_corrected([event], {(event.key, event.time_us - 1): ("void", None)})) == [event]


def test_a_level_is_taken_out_where_it_stood_and_put_in_where_it_stands() -> None:
    event = usage(storage_bytes=10, storage_resource="disk-1")
    moved: Attributes = {"maestro.storage.bytes": 7, "maestro.storage.resource": "disk-2"}
    found = changes([decide(of(event, moved), event, event, METERS)], METERS, {})
    assert [(sampled.resource, sampled.level) for _, sampled in found.removed] == [("disk-1", 10)]
    assert [(sampled.resource, sampled.level) for _, sampled in found.added] == [("disk-2", 7)]


def test_an_amendment_may_make_an_event_count_by_another_meter() -> None:
    event = usage(ingest_events=5)
    other: Attributes = {"maestro.storage.bytes": 7}
    found = decide(of(event, other), event, event, METERS)
    assert [one.metric for one in effects(found.before, METERS)] == ["ingest_events"]
    assert [one.metric for one in effects(found.after, METERS)] == ["storage_gb"]


def test_what_is_void_is_not_voided_again() -> None:
    event = usage(ingest_events=5)
    assert decide(of(event, None), event, None, METERS).refused == ALREADY_VOID


def test_attributes_are_kept_as_they_are() -> None:
    attributes: Attributes = {"a": "9007199254740993.000000000001", "b": 2**63 - 1, "c": True, "d": None}
    assert read(written(attributes)) == attributes
