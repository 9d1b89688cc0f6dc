"""Runs of random ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from uuid import UUID

import numpy as np

from services.metering.domain.lanes import Part
from services.metering.domain.runs import LANE_SHIFT, Columns

_numbers = itertools.count(1)


def run_ids() -> Iterator[UUID]:
    """Ids that no other run of this process has."""
    return (UUID(int=number) for number in _numbers)


def columns_in(random: np.random.Generator, lane: int, entries: int) -> Columns:
    """So many random entries of a lane. The digest of one is the low half of its key."""
    high = np.sort(random.integers(0, 1 << 61, entries, np.uint64)) | (np.uint64(lane) << LANE_SHIFT)
    low = random.integers(0, 1 << 64, entries, np.uint64, endpoint=False)
    return Columns(high, low, low.view(np.int64), np.arange(entries, dtype=np.int64))


def part_of(random: np.random.Generator, lane: int, entries: int, kept_from_us: int = 0) -> Part:
    """The same as a part of a lane."""
    return Part(columns_in(random, lane, entries), frozenset([next(run_ids())]), kept_from_us)
