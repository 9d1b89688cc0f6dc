"""Which runs are merged, and when: few runs to look into, each id written a few times, old ids gone with their run.

Runs whose ids are of one week are merged with each other only, so that a run's last id is at most a week younger than
its first, and it is forgotten whole. Within a week they are merged by size. What it leaves is made one, a day after its
end: clocks of senders run ahead, and one id of the week to come must not have the whole of this one written again. Ids
that come for a week after that wait until they are many, for the same reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

WEEK_US: Final = 7 * 24 * 3_600_000_000
LOOSE_RUNS: Final = 1_024  # of single batches: as many rows are looked into to explain one event
LOOSE_ENTRIES: Final = 262_144  # held in memory until then, 32 bytes each and lane
SMALL_ENTRIES: Final = 65_536
SETTLED_US: Final = 24 * 3_600_000_000  # more than a clock is ahead, or one partition of a lane behind another
STRAGGLERS: Final = 64  # runs that a settled week may have beside its one
FAN_IN: Final = 8  # runs of about one size: an id is written again each time its run has grown eightfold


class Part(Protocol):
    """One or several runs that are looked into as one."""

    @property
    def run_count(self) -> int:
        """How many runs it is in the store."""
        ...

    @property
    def entries(self) -> int:
        """How many ids it holds."""
        ...

    @property
    def kept_from_us(self) -> int:
        """From when its last id is kept, in microseconds since 1970."""
        ...


P = TypeVar("P", bound=Part)


def week_of(kept_from_us: int) -> int:
    """Return the number of the week in which ids are kept from `kept_from_us`."""
    return kept_from_us // WEEK_US


def due(parts: Sequence[P]) -> list[P]:
    """Return the parts of a lane that are to be made one run now; none where nothing is due."""
    weeks: defaultdict[int, list[P]] = defaultdict(list)
    for part in parts:
        weeks[week_of(part.kept_from_us)].append(part)
    newest_us = max((part.kept_from_us for part in parts), default=0)
    for week, members in sorted(weeks.items()):
        is_settled = newest_us >= (week + 1) * WEEK_US + SETTLED_US
        if found := _due_by_size(members) or (_left_over(members) if is_settled else []):
            return found
    return []


def _left_over(members: Sequence[P]) -> list[P]:
    """Return all of a settled week where that is worth it: it is written whole."""
    loose_runs = sum(one.run_count for one in members if _is_loose(one))
    large = sum(not _is_loose(one) for one in members)
    is_worth_it = large > 1 or loose_runs >= STRAGGLERS or (not large and loose_runs > 1)
    return list(members) if is_worth_it else []


def _due_by_size(members: Sequence[P]) -> list[P]:
    loose = [one for one in members if _is_loose(one)]
    if sum(one.entries for one in loose) >= LOOSE_ENTRIES or sum(one.run_count for one in loose) >= LOOSE_RUNS:
        return loose
    sizes: defaultdict[int, list[P]] = defaultdict(list)
    for one in members:
        if not _is_loose(one):
            sizes[_size_of(one)].append(one)
    return next((alike for _, alike in sorted(sizes.items()) if len(alike) >= FAN_IN), [])


def _is_loose(part: Part) -> bool:
    return part.run_count > 1 or part.entries < SMALL_ENTRIES


def _size_of(part: Part) -> int:
    size, entries = 0, part.entries // SMALL_ENTRIES
    while entries >= FAN_IN:
        size, entries = size + 1, entries // FAN_IN
    return size
