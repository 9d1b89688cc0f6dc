"""The watermark: up to when all usage that was acknowledged is counted. Every total carries it."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from libs.schemas.values import from_microseconds
from services.metering.domain.closing import has_counted

# How long honest usage may be under way before it is durable: a stock SDK's export interval; clocks differ by less.
SKEW: Final = timedelta(seconds=5)
SPACING: Final = timedelta(seconds=1)  # of what is remembered, however often is asked
MAX_STAGES: Final = 1_000  # remembered while shards are behind; without room a later one is taken, once there is

P = TypeVar("P", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one partition is taken: the offset reached, and when the broker appended the last record before it."""

    reached: int
    appended_at_ms: int


def watermark(progress: Mapping[P, Progress], ends: Mapping[P, int], asked_at: datetime) -> datetime | None:
    """Return the least of the partitions' marks, None while a partition with records was never read.

    `ends` are the log's ends as the broker told them at or after `asked_at`. A partition that has reached its end is
    complete up to then, less SKEW; one that is behind up to the append time of what was counted last, less SKEW.
    """
    marks = [_mark(progress.get(partition), end, asked_at) for partition, end in ends.items()]
    known = [mark for mark in marks if mark is not None]
    return min(known, default=None) if len(known) == len(marks) else None


def _mark(progress: Progress | None, end: int, asked_at: datetime) -> datetime | None:
    if end == 0 or (progress is not None and progress.reached >= end):
        return asked_at - SKEW
    if progress is None or progress.appended_at_ms == 0:
        return None
    return from_microseconds(progress.appended_at_ms * 1000) - SKEW


@dataclass(frozen=True, slots=True)
class _Stage:
    routed_to: datetime
    ends: Mapping[int, int]


class Carried:
    """The router's watermark, carried through usage-shards: a mark of the router holds once that is counted.

    What the router appends now may have lain on its topic for hours, so an append time on usage-shards says nothing of
    it. But all that the router had done by some instant lies before the ends of usage-shards as they were after it.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._stages: deque[_Stage] = deque()
        self._counted_to: datetime | None = None

    def note(self, routed_to: datetime, ends: Mapping[int, int]) -> None:
        """Remember that the router was at `routed_to`, asked before usage-shards ended at `ends`."""
        is_news = not self._stages or routed_to >= self._stages[-1].routed_to + SPACING
        if is_news and len(self._stages) < MAX_STAGES:
            self._stages.append(_Stage(routed_to, ends))

    def counted_to(self, progress: Mapping[int, Progress]) -> datetime | None:
        """Return up to when all that came by the router is counted, as far as usage-shards is: None if not known."""
        reached = {partition: one.reached for partition, one in progress.items()}
        while self._stages and has_counted(reached, self._stages[0].ends):
            mark = self._stages.popleft().routed_to
            self._counted_to = mark if self._counted_to is None else max(mark, self._counted_to)
        return self._counted_to
