"""The watermark: up to when all usage that was acknowledged is counted. Every total carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.schemas.values import from_microseconds

# How long honest usage may be under way before it is durable: a stock SDK's export interval; clocks differ by less.
SKEW: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one partition is counted: the offset reached, and when the broker appended the last record before it."""

    reached: int
    appended_at_ms: int


def watermark(progress: Mapping[int, Progress], ends: Mapping[int, int], asked_at: datetime) -> datetime | None:
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
