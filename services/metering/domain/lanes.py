"""What a shard owner knows of a lane: the runs that stand in it, as parts that are looked into one after the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from services.metering.domain.identity import SHARDS, first_shard_of, partition_of
from services.metering.domain.probing import Marks, find, may_hold
from services.metering.domain.runs import LANES, Columns, Halves, Numbers, Places, merge
from services.metering.domain.tiers import week_of

SHARDS_A_LANE = SHARDS // LANES


def lanes_of(partition: int, partitions: int) -> set[int]:
    """Return the lanes that have keys in this partition of so many."""
    first, end = first_shard_of(partition, partitions), first_shard_of(partition + 1, partitions)
    return {shard // SHARDS_A_LANE for shard in range(first, end)}


def leader_of(lane: int, partitions: int) -> int:
    """Return the partition whose owner merges the lane: that of its first shard."""
    return partition_of(lane * SHARDS_A_LANE, partitions)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One or several runs of the store in one piece, with a filter (`words`) where they are a large one."""

    columns: Columns
    runs: frozenset[UUID]
    kept_from_us: int
    words: Halves | None = None

    @property
    def entries(self) -> int:
        """How many ids it holds."""
        return len(self.columns)

    @property
    def run_count(self) -> int:
        """How many runs it is in the store."""
        return len(self.runs)

    def find(self, high: Halves, low: Halves, marks: Marks) -> tuple[Places, Numbers]:
        """Return (which of the keys, their digests) of all that are in it."""
        if self.words is None:
            which, where = find(self.columns, high, low)
        else:
            let = may_hold(self.words, marks)
            which, where = find(self.columns, high[let], low[let])
            which = let[which]
        return which, self.columns.digests[where]


def joined(parts: Sequence[Part]) -> Part:
    """Return parts without a filter as one."""
    runs = frozenset().union(*(one.runs for one in parts))
    return Part(merge([one.columns for one in parts]), runs, max(one.kept_from_us for one in parts))


@dataclass(slots=True, eq=False)
class Lane:
    """`seq` is the store's when the parts were loaded. What is not `is_known` may have changed there since.

    Runs that are `merging` stay in parts of their own until they are replaced.
    """

    number: int
    seq: int = 0
    parts: list[Part] = field(default_factory=list)
    is_known: bool = False
    merging: frozenset[UUID] = frozenset()

    def find(self, high: Halves, low: Halves, marks: Marks) -> tuple[Places, Numbers]:
        """Return (which of the keys, their digests) of all that stand in the lane; of keys by their halves."""
        found = [part.find(high, low, marks) for part in self.parts]
        hits = [one for one in found if len(one[0])]
        if not hits:
            return np.empty(0, np.intp), np.empty(0, np.int64)
        return np.concatenate([which for which, _ in hits]), np.concatenate([digests for _, digests in hits])

    def add(self, part: Part) -> None:
        """Know one part more. Small ones are joined as they grow: there are few, and each id is moved a few times."""
        while self.parts and self.parts[-1].runs.isdisjoint(self.merging) and _is_joined_with(self.parts[-1], part):
            part = joined([self.parts.pop(), part])
        self.parts.append(part)

    def replace(self, runs: Collection[UUID], by: Part) -> None:
        """Know one part in the place of all that hold nothing but these runs."""
        given = frozenset(runs)
        self.parts = [by, *(one for one in self.parts if not one.runs <= given)]

    def keep(self, live: Collection[UUID]) -> set[UUID]:
        """Let go of the parts that are not all of live runs; return the live runs that are not known then."""
        wanted = frozenset(live)
        self.parts = [one for one in self.parts if one.runs <= wanted]
        return set(wanted.difference(*(one.runs for one in self.parts)))

    def runs(self) -> frozenset[UUID]:
        """Return the runs that are known."""
        return frozenset().union(*(one.runs for one in self.parts))


def _is_joined_with(last: Part, part: Part) -> bool:
    is_alike = last.words is None and part.words is None and week_of(last.kept_from_us) == week_of(part.kept_from_us)
    return is_alike and last.entries <= 2 * part.entries
