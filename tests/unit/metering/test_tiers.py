"""Which runs are merged: few are left, of one week each, and an id is written a few times at most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.tiers import FAN_IN, LOOSE_ENTRIES, LOOSE_RUNS, SMALL_ENTRIES, WEEK_US, due, week_of


@dataclass(frozen=True)
class Some:
    entries: int
    kept_from_us: int = 0
    run_count: int = 1
    writes: int = 1


def merged(parts: list[Some]) -> Some:
    return Some(
        sum(one.entries for one in parts),
        max(one.kept_from_us for one in parts),
        writes=1 + max(one.writes for one in parts),
    )


def settled(parts: list[Some]) -> list[Some]:
    for _ in range(len(parts) + 1):
        chosen = due(parts)
        if not chosen:
            return parts
        parts = [one for one in parts if not any(one is other for other in chosen)] + [merged(chosen)]
    raise AssertionError("merging does not end")


def grown(batch: int, batches: int) -> list[Some]:
    """What a lane is after so many batches of one week, merged as they come."""
    parts: list[Some] = []
    for _ in range(batches):
        parts = settled([*parts, Some(batch)])
    return parts


WEEKS = st.integers(0, 6).map(lambda week: week * WEEK_US)
PARTS = st.lists(st.builds(Some, st.integers(1, 4_000_000), WEEKS, st.integers(1, 40)), max_size=40)


@given(PARTS)
def test_only_runs_of_one_week_are_merged(parts: list[Some]) -> None:
    assert len({week_of(one.kept_from_us) for one in due(parts)}) <= 1


@given(PARTS)
def test_merging_ends_and_leaves_one_run_of_every_week_but_the_last(parts: list[Some]) -> None:
    left = settled(parts)
    weeks = Counter(week_of(one.kept_from_us) for one in left)
    assert sum(one.entries for one in left) == sum(one.entries for one in parts)
    assert all(count == 1 for week, count in weeks.items() if week < max(weeks))


@given(PARTS)
def test_no_run_is_merged_with_nothing_for_nothing(parts: list[Some]) -> None:
    chosen = due(parts)
    assert sum(one.run_count for one in chosen) != 1


def test_batches_are_merged_once_they_are_many_or_large() -> None:
    assert due([Some(10, run_count=LOOSE_RUNS - 1)]) == []
    assert len(due([Some(10, run_count=LOOSE_RUNS - 1), Some(1)])) == 2
    assert len(due([Some(LOOSE_ENTRIES - 1, run_count=2), Some(1)])) == 2


def test_runs_of_about_one_size_are_merged_once_they_are_eight() -> None:
    alike = [Some(SMALL_ENTRIES + number) for number in range(FAN_IN)]
    assert due(alike[1:]) == []
    assert due([Some(SMALL_ENTRIES * FAN_IN), *alike]) == alike


def test_twelve_million_ids_of_a_lane_lie_in_few_runs_and_were_written_few_times() -> None:
    large = [one for one in grown(10_000, 1_250) if one.entries >= SMALL_ENTRIES]
    assert sum(one.entries for one in large) >= 12_000_000
    assert len(large) <= 2 * FAN_IN
    assert max(one.writes for one in large) <= 4
