"""The watermark: up to when all usage that was acknowledged is counted. Every total carries it."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from libs.schemas.values import from_microseconds
from services.metering.domain.accounts import overflow_partition_of
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


Marks = Mapping[int, datetime]
"""By partition of usage-overflow: up to when usage of its tenants has got somewhere. Absent where that is not known."""


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Up to when all usage is counted, by partition of usage-overflow: each tenant has its own there.

    So the backlog of one tenant makes the totals of those incomplete that share its partition, and of nobody else.
    """

    marks: Marks
    partitions: int

    def of(self, tenant_id: str) -> datetime | None:
        """Return up to when all usage of the tenant is counted, None while that is not known."""
        return self.marks.get(overflow_partition_of(tenant_id, self.partitions)) if self.partitions else None

    def least(self) -> datetime | None:
        """Return up to when all usage of every tenant is counted, None while that is not known."""
        return min(self.marks.values()) if self.partitions and len(self.marks) == self.partitions else None

    def greatest(self) -> datetime | None:
        """Return up to when all usage of some tenants is counted, None while that is not known."""
        return max(self.marks.values(), default=None)


def overflowed(forwarded: Mapping[int, Progress], ends: Mapping[int, int], asked_at: datetime) -> Marks:
    """Return up to when what edges wrote to usage-overflow is forwarded, see `watermark`."""
    marks = {partition: _mark(forwarded.get(partition), end, asked_at) for partition, end in ends.items()}
    return {partition: mark for partition, mark in marks.items() if mark is not None}


def earlier(some: Marks, others: Marks) -> Marks:
    """Return the earlier of two marks for every partition where both are known."""
    return {partition: min(mark, others[partition]) for partition, mark in some.items() if partition in others}


@dataclass(frozen=True, slots=True)
class _Stage:
    marks: Marks
    ends: Mapping[int, int]

    def is_news_to(self, marks: Marks) -> bool:
        """Return whether `marks` say more than this, by so much that it is worth remembering."""
        return any(
            partition not in self.marks or mark >= self.marks[partition] + SPACING for partition, mark in marks.items()
        )


class Carried:
    """Marks of what feeds usage-shards, carried through it: they hold once all is counted that lay there after them.

    What is routed or forwarded now may have lain elsewhere for hours, so an append time on usage-shards says nothing of
    it. But all that was done by some instant lies before the ends of usage-shards as they were after it.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._stages: deque[_Stage] = deque()
        self._counted_to: dict[int, datetime] = {}

    def note(self, marks: Marks, ends: Mapping[int, int]) -> None:
        """Remember these marks, which were taken before usage-shards ended at `ends`."""
        is_news = bool(marks) and (not self._stages or self._stages[-1].is_news_to(marks))
        if is_news and len(self._stages) < MAX_STAGES:
            self._stages.append(_Stage(marks, ends))

    def counted_to(self, progress: Mapping[int, Progress]) -> Marks:
        """Return the marks up to which all is counted, as far as usage-shards is."""
        reached = {partition: one.reached for partition, one in progress.items()}
        while self._stages and has_counted(reached, self._stages[0].ends):
            for partition, mark in self._stages.popleft().marks.items():
                self._counted_to[partition] = max(mark, self._counted_to.get(partition, mark))
        return dict(self._counted_to)


class Diverted:
    """The routers' mark, carried through usage-overflow: what they wrote by then lies before its later ends."""

    def __init__(self) -> None:
        """Know nothing."""
        self._stages: deque[tuple[datetime, Mapping[int, int]]] = deque()
        self._marks: dict[int, datetime] = {}

    def note(self, routed_to: datetime | None, ends: Mapping[int, int]) -> None:
        """Remember that the routers were at `routed_to`, asked before usage-overflow ended at `ends`."""
        is_news = routed_to is not None and (not self._stages or routed_to >= self._stages[-1][0] + SPACING)
        if routed_to is not None and is_news and len(self._stages) < MAX_STAGES:
            self._stages.append((routed_to, ends))

    def forwarded_to(
        self, routed_to: datetime | None, forwarded: Mapping[int, Progress], ends: Mapping[int, int]
    ) -> Marks:
        """Return, of each partition, up to when all that came by the routers is forwarded; see `note`."""
        reached = {partition: one.reached for partition, one in forwarded.items()}
        self.note(routed_to, ends)
        for partition, end in ends.items():
            at = reached.get(partition, 0)
            passed = [mark for mark, before in self._stages if before.get(partition, 0) <= at]
            marks = [*passed, *([routed_to] if routed_to is not None and at >= end else [])]
            if marks:
                self._marks[partition] = max(*marks, self._marks.get(partition, marks[0]))
        while self._stages and has_counted(reached, self._stages[0][1]):
            self._stages.popleft()
        return dict(self._marks)
