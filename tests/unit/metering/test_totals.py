"""The shard owner's arithmetic as a whole: settle and fold, against a store that is a dictionary."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.events import UsageEvent
from services.metering.domain.folding import ClosedPeriod, WindowKey, exact_sum, fold
from services.metering.domain.gauges import Sample, Span, integrals
from services.metering.domain.settling import candidates_of, settle
from tests.support.metering import ALICE, BOB, MINUTE_US, NOON_US, QUARTER_US, default_meters, usage

METERS = default_meters()
DAY_US = 24 * 60 * MINUTE_US


class Ledger:
    """What a store does, without one: ids, sums and samples that survive from batch to batch."""

    def __init__(self) -> None:
        self.digests: dict[bytes, int] = {}
        self.sums: dict[WindowKey, int | Decimal] = {}
        self.samples: dict[str, list[Sample]] = {}
        self.copies = 0
        self.conflicts = 0

    def take(self, batch: list[UsageEvent]) -> None:
        found = candidates_of(batch)
        known = {key: self.digests[key] for key in found.firsts if key in self.digests}
        settled = settle(found, known)
        self.digests.update((event.key, event.digest) for event in settled.fresh)
        self.copies += settled.copies.total()
        self.conflicts += len(settled.conflicts)
        folded = fold(settled.fresh, METERS, {})
        for window, amount in folded.sums.items():
            self.sums[window] = exact_sum(self.sums.get(window, 0), amount)
        for event, sampled in folded.samples:
            sample = Sample(event.time_us, event.source, event.id, sampled.level)
            self.samples.setdefault(event.tenant_id + sampled.resource, []).append(sample)

    def integrals(self) -> dict[int, int]:
        return integrals(self.samples, Span(NOON_US - DAY_US, NOON_US + DAY_US), DAY_US)


def in_batches(events: list[UsageEvent], size: int) -> Ledger:
    ledger = Ledger()
    for start in range(0, len(events), size):
        ledger.take(events[start : start + size])
    return ledger


AMOUNTS = st.one_of(
    st.integers(0, 2**53 + 1),
    st.decimals(0, 10**6, places=12, allow_nan=False, allow_infinity=False).map(lambda number: format(number, "f")),
)


@st.composite
def distinct_events(draw: st.DrawFn) -> list[UsageEvent]:
    count = draw(st.integers(1, 25))
    return [
        usage(
            str(number),
            tenant_id=draw(st.sampled_from([ALICE, BOB])),
            time_us=NOON_US + draw(st.integers(-60, 60)) * MINUTE_US,
            **{"ingest_events": draw(AMOUNTS)}
            if draw(st.booleans())
            else {"storage_bytes": draw(st.integers(0, 10**15)), "storage_resource": draw(st.sampled_from("xy"))},
        )
        for number in range(count)
    ]


@given(distinct_events(), st.data(), st.integers(1, 9))
def test_any_permutation_and_any_duplication_gives_the_same_totals(
    events: list[UsageEvent], data: st.DataObject, batch_size: int
) -> None:
    copies = data.draw(st.lists(st.sampled_from(events), max_size=len(events)))
    shuffled = data.draw(st.permutations(events + copies))
    once = in_batches(events, len(events))
    again = in_batches(shuffled, batch_size)
    assert again.sums == once.sums
    assert again.integrals() == once.integrals()
    assert again.copies == len(copies)
    assert again.conflicts == 0


def test_a_hundred_thousand_tenths_are_exactly_ten_thousand() -> None:
    ledger = in_batches([usage(str(number), ingest_events="0.1") for number in range(100_000)], 10_000)
    assert list(ledger.sums.values()) == [Decimal(10_000)]


def test_very_large_and_very_small_amounts_add_up_without_loss() -> None:
    ledger = in_batches([usage("1", ingest_events=2**53 + 1), usage("2", ingest_events="1e-12")], 1)
    assert list(ledger.sums.values()) == [Decimal("9007199254740993.000000000001")]


def test_an_event_counts_in_the_window_of_its_own_time() -> None:
    late = usage("1", time_us=NOON_US + QUARTER_US - 1, ingest_events=1)
    next_window = usage("2", time_us=NOON_US + QUARTER_US, ingest_events=2)
    ledger = in_batches([next_window, late], 2)
    assert ledger.sums == {
        (ALICE, "ingest_events", NOON_US): 1,
        (ALICE, "ingest_events", NOON_US + QUARTER_US): 2,
    }


def test_the_same_id_with_another_body_is_a_conflict_and_the_first_stands() -> None:
    ledger = in_batches([usage("1", ingest_events=5), usage("1", ingest_events=6), usage("1", ingest_events=5)], 3)
    assert list(ledger.sums.values()) == [5]
    assert (ledger.copies, ledger.conflicts) == (1, 1)


def test_the_same_id_at_another_time_is_a_conflict() -> None:
    ledger = in_batches([usage("1", ingest_events=5), usage("1", ingest_events=5, time_us=NOON_US + 1)], 1)
    assert ledger.conflicts == 1
    assert list(ledger.sums.values()) == [5]


def test_a_conflict_names_the_event_that_stands() -> None:
    first, other = usage("1", ingest_events=5), usage("1", ingest_events=6)
    [conflict] = settle(candidates_of([other]), {first.key: first.digest}).conflicts
    assert (conflict.other, conflict.first_digest) == (other, first.digest)


def test_the_same_id_of_another_tenant_is_another_event() -> None:
    ledger = in_batches([usage("1", ingest_events=5), usage("1", tenant_id=BOB, ingest_events=5)], 1)
    assert len(ledger.sums) == 2


CLOSED = {ALICE: [ClosedPeriod(ALICE, "close-1", "2025-11", NOON_US - DAY_US, NOON_US + QUARTER_US)]}


def test_what_comes_after_the_close_is_an_adjustment_and_changes_no_window() -> None:
    folded = fold([usage("1", ingest_events=5)], METERS, CLOSED)
    assert folded.sums == {}
    [adjustment] = folded.adjustments
    assert (adjustment.metric, adjustment.amount, adjustment.closed.close_id) == ("ingest_events", 5, "close-1")


def test_the_windows_after_a_closed_period_stay_open() -> None:
    folded = fold([usage("1", ingest_events=5, time_us=NOON_US + QUARTER_US)], METERS, CLOSED)
    assert folded.adjustments == []
    assert len(folded.sums) == 1


def test_another_tenants_period_stays_open() -> None:
    folded = fold([usage("1", tenant_id=BOB, ingest_events=5)], METERS, CLOSED)
    assert folded.adjustments == []


def test_a_sample_after_the_close_is_kept_because_its_level_holds_into_open_windows() -> None:
    folded = fold([usage("1", storage_bytes=5)], METERS, CLOSED)
    assert len(folded.samples) == 1


def test_a_failure_is_kept_with_its_event() -> None:
    event = usage("1", ingest_events="NaN", storage_bytes=5)
    folded = fold([event], METERS, {})
    assert [(one.id, failed.metric, failed.reason) for one, failed in folded.failures] == [
        ("1", "ingest_events", "bad_number")
    ]
    assert len(folded.samples) == 1
