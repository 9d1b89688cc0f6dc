"""What the archive decides again is what shard owners decided, in whatever order its rows are read."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.events import UsageEvent
from services.metering.domain.replaying import HORIZON_US, Decided, Occurrence, Spot, decide
from services.metering.domain.settling import candidates_of, settle
from tests.support.metering import MINUTE_US, NOON_US, usage

NOON_MS = NOON_US // 1000


def occurrence(
    event: UsageEvent, offset: int, *, index: int = 0, partition: int = 0, appended_at_ms: int = NOON_MS
) -> Occurrence:
    return Occurrence(event.key, event.digest, event.time_us, appended_at_ms, Spot("t", partition, offset, index))


def by_owner(events: list[UsageEvent], batch: int) -> tuple[list[int], int, int]:
    """What an owner decides who takes these in batches: offsets that count, copies, conflicts."""
    digests: dict[bytes, int] = {}
    counted: list[int] = []
    copies = conflicts = 0
    offsets = {id(event): offset for offset, event in enumerate(events)}
    for start in range(0, len(events), batch):
        found = candidates_of(events[start : start + batch])
        known = {key: digests[key] for key in found.firsts if key in digests}
        settled = settle(found, known)
        digests.update((event.key, event.digest) for event in settled.fresh)
        counted += [offsets[id(event)] for event in settled.fresh]
        copies += settled.copies.total()
        conflicts += len(settled.conflicts)
    return sorted(counted), copies, conflicts


EVENTS = st.lists(
    st.builds(
        lambda number, amount, minutes: usage(str(number), ingest_events=amount, time_us=NOON_US + minutes * MINUTE_US),
        st.integers(0, 5),
        st.integers(0, 2),
        st.integers(0, 1),
    ),
    max_size=30,
)


@given(EVENTS, st.integers(1, 10), st.randoms(use_true_random=False))
def test_any_order_of_rows_is_decided_as_the_owner_decided_the_offsets(
    events: list[UsageEvent], batch: int, random: Random
) -> None:
    rows = [occurrence(event, offset) for offset, event in enumerate(events)]
    random.shuffle(rows)
    decided = decide(sorted(rows, key=lambda one: one.key))
    assert (sorted(spot.offset for spot in decided.counted), decided.copies, decided.conflicts) == by_owner(
        events, batch
    )


def test_the_first_of_a_record_stands_where_one_record_holds_two() -> None:
    first, other = usage(ingest_events=1), usage(ingest_events=2)
    decided = decide([occurrence(other, 3, index=1), occurrence(first, 3, index=0)])
    assert decided == Decided([Spot("t", 0, 3, 0)], conflicts=1)


def test_within_a_partition_the_offset_decides_whatever_the_brokers_clock_said() -> None:
    first, other = usage(ingest_events=1), usage(ingest_events=2)
    rows = [occurrence(first, 1, appended_at_ms=NOON_MS), occurrence(other, 2, appended_at_ms=NOON_MS - 9)]
    assert decide(rows).counted == [Spot("t", 0, 1, 0)]


def test_across_partitions_the_append_time_decides() -> None:
    first, other = usage(ingest_events=1), usage(ingest_events=2)
    rows = [
        occurrence(other, 1, partition=0, appended_at_ms=NOON_MS + 9),
        occurrence(first, 7, partition=1, appended_at_ms=NOON_MS),
    ]
    assert decide(rows).counted == [Spot("t", 1, 7, 0)]


def test_an_id_that_was_forgotten_counts_anew() -> None:
    event = usage(ingest_events=1)
    kept_ms = NOON_MS + HORIZON_US // 1000
    rows = [occurrence(event, offset, appended_at_ms=at) for offset, at in enumerate([NOON_MS, kept_ms, kept_ms + 1])]
    assert decide(rows) == Decided([Spot("t", 0, 0, 0), Spot("t", 0, 2, 0)], copies=1)
