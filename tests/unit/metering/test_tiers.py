"""Which runs are merged: few are left, of one week each, and an id is written a few times at most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.tiers import (
    FAN_IN,
    LOOSE_ENTRIES,
    LOOSE_RUNS,
    SETTLED_US,
    SMALL_ENTRIES,
    STRAGGLERS,
    WEEK_US,
    due,
    week_of,
)


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
def test_merging_ends_and_leaves_one_run_of_every_settled_week_and_few_stragglers(parts: list[Some]) -> None:
    left = settled(parts)
    newest_us = max((one.kept_from_us for one in parts), default=0)
    weeks: defaultdict[int, list[Some]] = defaultdict(list)
    for one in left:
        weeks[week_of(one.kept_from_us)].append(one)
    assert sum(one.entries for one in left) == sum(one.entries for one in parts)
    for week, members in weeks.items():
        if newest_us >= (week + 1) * WEEK_US + SETTLED_US:
            large = [one for one in members if one.entries >= SMALL_ENTRIES and one.run_count == 1]
            stragglers = sum(one.run_count for one in members if one not in large)
            assert (len(large), stragglers < STRAGGLERS) == (1, True) or (len(large), stragglers) == (0, 1)


def written_while(parts: list[Some], more: Sequence[Some]) -> int:
    """How many ids are written where these come one by one, and what is due is merged each time."""
    written = 0
    for one in more:
        parts = [*parts, one]
        while chosen := due(parts):
            written += sum(part.entries for part in chosen)
            parts = [part for part in parts if not any(part is other for other in chosen)] + [merged(chosen)]
    return written


def test_one_id_of_the_week_to_come_has_this_one_written_not_again() -> None:
    clock_ahead = Some(1, kept_from_us=WEEK_US + 1)
    assert written_while([Some(40_000_000)], [clock_ahead, *[Some(100) for _ in range(50)]]) == 0


def test_ids_that_come_for_a_settled_week_have_it_written_once_for_many() -> None:
    week = [Some(40_000_000), Some(5, kept_from_us=3 * WEEK_US)]
    assert written_while(week, [Some(100) for _ in range(STRAGGLERS - 1)]) == 0
    assert written_while(week, [Some(100) for _ in range(STRAGGLERS)]) == 40_000_000 + 100 * STRAGGLERS


def test_what_a_week_leaves_is_made_one_a_day_after_its_end() -> None:
    week = [Some(SMALL_ENTRIES), Some(3 * SMALL_ENTRIES), Some(7), Some(9)]
    assert due([*week, Some(1, kept_from_us=WEEK_US + SETTLED_US - 1)]) == []
    assert due([*week, Some(1, kept_from_us=WEEK_US + SETTLED_US)]) == week


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
