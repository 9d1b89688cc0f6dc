"""Consuming in lots: what is read is gathered until it is much or old, then kept, by one step of the stored offsets.

    poll -> Assigned: raise the owner epoch, settle what an earlier lot left, load `next`, seek
         -> Fetched:  gather; once the lot is full or old: keep it, and move the offsets, in the keeper's transaction

For effects that are better large: files. The loop around it is `libs.bus.member`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from libs.bus.member import Member
from libs.bus.offsets import Incarnation, Move, Owned
from libs.bus.ownership import Ownership
from libs.bus.ports import Bus, Fetched, Offsets, Subscriber
from libs.bus.records import Record, TopicPartition
from libs.bus.subscription import Subscription
from libs.bus.writer import last_of_each
from libs.store.pool import Pool


@dataclass(frozen=True, slots=True)
class LotBounds:
    """A lot is kept once it holds so many bytes, or its first record was read so long ago."""

    max_bytes: int
    max_age_s: float


class Keeper(Protocol):
    """Makes lots last. Each method raises Unavailable, or NotOwner, to have the records again."""

    async def settle(self, me: Incarnation) -> None:
        """Finish what was committed before and undo what was not. Nothing of ours is under way."""
        ...

    async def gather(self, records: Sequence[Record], owned: Mapping[TopicPartition, Owned]) -> int:
        """Add these to the lot, and return how many bytes it holds now."""
        ...

    async def keep(self, me: Incarnation, moves: Sequence[Move]) -> None:
        """Make the lot last and move the offsets, in one transaction that holds `me`; begin the next lot."""
        ...

    def discard(self) -> None:
        """Begin the lot anew: its records will be read again."""
        ...


class LotConsumer(Member):
    """Gives records, in order of (topic, partition, offset), to a keeper, and tells it when a lot is over."""

    def __init__(
        self,
        bus: Bus,
        pool: Pool,
        subscription: Subscription,
        keeper: Keeper,
        bounds: LotBounds,
        *,
        random: Random | None = None,
    ) -> None:
        """Wire the consumer; `run` starts it."""
        super().__init__(bus, subscription, random)
        self._ownership = Ownership(bus, pool, subscription)
        self._keeper = keeper
        self._bounds = bounds
        self._owned: dict[TopicPartition, Owned] = {}
        self._steps: dict[TopicPartition, Move] = {}
        self._size_bytes = 0
        self._begun_s = 0.0

    async def _begin(self) -> None:
        await self._ownership.begin()

    async def _take(self, subscriber: Subscriber, partitions: frozenset[TopicPartition]) -> Offsets:
        self._owned = await self._ownership.take(partitions)
        await self._keeper.settle(self._ownership.incarnation)
        await self._show_progress(subscriber)
        return {source: mine.next for source, mine in self._owned.items()}

    async def _give(self, subscriber: Subscriber, got: Fetched) -> None:
        if got.records:
            await self._ownership.confirm(self._owned)
            await self._gather(got)
        if self._steps and self._is_over():
            await self._keep()
            await self._show_progress(subscriber)

    async def _gather(self, got: Fetched) -> None:
        if not self._steps:
            self._begun_s = asyncio.get_running_loop().time()
        self._size_bytes = await self._keeper.gather(got.records, self._owned)
        for source, last in last_of_each(got.records).items():
            to = got.positions[source]
            self._steps[source] = Move(self._owned[source], source.partition, to, last.appended_at_ms)

    def _is_over(self) -> bool:
        age_s = asyncio.get_running_loop().time() - self._begun_s
        return self._size_bytes >= self._bounds.max_bytes or age_s >= self._bounds.max_age_s

    async def _keep(self) -> None:
        steps, self._steps = dict(sorted(self._steps.items())), {}
        await self._keeper.keep(self._ownership.incarnation, list(steps.values()))
        for source, step in steps.items():
            self._owned[source] = replace(step.owned, next=step.to, appended_at_ms=step.appended_at_ms)

    async def _show_progress(self, subscriber: Subscriber) -> None:
        await subscriber.show_progress({source: mine.mark() for source, mine in self._owned.items()})

    async def _is_complete(self) -> bool:
        return await self._ownership.is_complete()

    def _forget(self) -> None:
        self._keeper.discard()
        self._owned = {}
        self._steps = {}
        self._size_bytes = 0
