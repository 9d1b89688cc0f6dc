"""Consuming with exactly one effect.

    poll -> Assigned: raise the owner epoch, load `next`, seek
         -> Fetched:  BEGIN; move the offsets; drop what was taken before; handle; note the sequences; COMMIT

The loop around it is `libs.bus.member`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from random import Random

from libs.bus.dispatch import Dispatch
from libs.bus.member import Member
from libs.bus.offsets import Owned
from libs.bus.ownership import Ownership
from libs.bus.ports import Bus, Fetched, Offsets, Subscriber
from libs.bus.progress import Progress
from libs.bus.records import TopicPartition
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription
from libs.bus.writer import Handle, HandleEach, Writer
from libs.store.pool import Pool

Load = Callable[[Mapping[TopicPartition, Owned]], Awaitable[None]]


def _nothing_to_discard() -> None:
    """Stand in for a handler that keeps nothing in memory."""


async def _nothing_to_load(_owned: Mapping[TopicPartition, Owned]) -> None:
    """Stand in for a handler that keeps nothing in memory."""


class BatchConsumer(Member):
    """Gives whole batches, in order of (topic, partition, offset), to `handle(tx, records)`.

    `handle` may raise PoisonRecords, or Rejected, which as SQLSTATE 22 and 23 is bisected down to the one record. After
    any rollback and before every assignment `discard()` is called: what the handler keeps in memory about these
    partitions is to be read from the store again. Once partitions are taken, and before anything of them is given,
    `load(owned)` is waited for: all that owners before committed is in the store by then.
    """

    def __init__(
        self,
        bus: Bus,
        pool: Pool,
        subscription: Subscription,
        handle: Handle,
        *,
        discard: Callable[[], None] = _nothing_to_discard,
        load: Load = _nothing_to_load,
        handle_each: HandleEach | None = None,
        random: Random | None = None,
    ) -> None:
        """Wire the consumer; `run` starts it. `handle_each`: see `libs.bus.writer.Writer`."""
        super().__init__(bus, subscription, random)
        self._discard = discard
        self._load = load
        self._ownership = Ownership(bus, pool, subscription)
        self._writer = Writer(pool, subscription, handle, discard, handle_each)
        self._owned: dict[TopicPartition, Owned] = {}
        self.progress = Progress()

    async def _begin(self) -> None:
        await self._ownership.begin()

    async def _take(self, subscriber: Subscriber, partitions: frozenset[TopicPartition]) -> Offsets:
        self._owned = await self._ownership.take(partitions)
        await self._load(self._owned)
        self.progress.own(self._owned)
        await self._show_progress(subscriber)  # also what was written just before a rebalance
        return {source: mine.next for source, mine in self._owned.items()}

    async def _give(self, subscriber: Subscriber, got: Fetched) -> None:
        if got.records:
            await self._ownership.confirm(self._owned)
            await self._writer.write(self._owned, got.records, got.positions)
            await self._show_progress(subscriber)
        self.progress.note(self._owned, got.positions, subscriber.seen())

    async def _show_progress(self, subscriber: Subscriber) -> None:
        await subscriber.show_progress({source: mine.mark() for source, mine in self._owned.items()})

    async def _is_complete(self) -> bool:
        return await self._ownership.is_complete()

    def _forget(self) -> None:
        self._discard()
        self._owned = {}
        self.progress.own({})


class EventConsumer(BatchConsumer):
    """Gives each event of ours to its route's handler, under the trace that said it."""

    def __init__(
        self, bus: Bus, pool: Pool, subscription: Subscription, routes: Routes, *, random: Random | None = None
    ) -> None:
        """Wire the consumer; `run` starts it."""
        dispatch = Dispatch(routes)
        super().__init__(bus, pool, subscription, dispatch.handle, handle_each=dispatch.handle_each, random=random)
