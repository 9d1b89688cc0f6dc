"""Consuming with exactly one effect.

    poll -> Assigned: raise the owner epoch, load `next`, seek
         -> Fetched:  BEGIN; move the offsets; drop what was taken before; handle; note the sequences; COMMIT

One way back from every failure: discard memory, take the partitions again, read on from what is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Final

from libs.bus.backoff import Backoff
from libs.bus.dispatch import Dispatch
from libs.bus.offsets import NotOwner, Owned
from libs.bus.ownership import Ownership
from libs.bus.ports import Assigned, Bus, Fetched, OutOfRange, Subscriber
from libs.bus.progress import Progress
from libs.bus.records import TopicPartition
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription, offset_lost
from libs.bus.writer import Handle, Writer
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool

WATCH_S: Final = 5.0  # how often one that has nothing to read asks whether every partition has been taken
REJOIN_S: Final = 30.0  # how often at most it has the group share anew; each time all members pause

_log = logging.getLogger(__name__)


def _nothing_to_discard() -> None:
    """Stand in for a handler that keeps nothing in memory."""


class BatchConsumer:
    """Gives whole batches, in order of (topic, partition, offset), to `handle(tx, records)`.

    `handle` may raise PoisonRecords, or Rejected, which as SQLSTATE 22 and 23 is bisected down to the one record. After
    any rollback and before every assignment `discard()` is called: what the handler keeps in memory about these
    partitions is to be read from the store again.
    """

    def __init__(
        self,
        bus: Bus,
        pool: Pool,
        subscription: Subscription,
        handle: Handle,
        *,
        discard: Callable[[], None] = _nothing_to_discard,
        random: Random | None = None,
    ) -> None:
        """Wire the consumer; `run` starts it."""
        self._bus = bus
        self._of = subscription
        self._discard = discard
        self._ownership = Ownership(bus, pool, subscription)
        self._writer = Writer(pool, subscription, handle, discard)
        self._backoff = Backoff(random or SystemRandom())
        self._owned: dict[TopicPartition, Owned] = {}
        self._watch_at_s = 0.0
        self._wants_share = False
        self._may_doubt = True
        self.progress = Progress()

    async def run(self) -> None:
        """Consume until cancelled. Outages are waited out; Broken where going on could lose or double something."""
        while True:
            try:
                await self._ownership.begin()
                await self._consume_until_outage()
            except Unavailable as error:
                await self._wait(error)
            except OutOfRange as error:
                raise offset_lost(self._of, error.source, f"the log does not hold offset {error.offset}") from error

    async def _consume_until_outage(self) -> None:
        subscriber = self._bus.subscriber(
            self._of.topics, group=self._of.group, instance=self._of.instance, max_records=self._of.max_records
        )
        try:
            await subscriber.start()
            if self._wants_share:
                subscriber.share_anew()
                self._wants_share = False
            while True:
                await self._step(subscriber)
        finally:
            self._forget()
            await subscriber.stop()

    async def _step(self, subscriber: Subscriber) -> None:
        got = await subscriber.poll()
        if isinstance(got, Assigned):
            await self._own(subscriber, got.partitions)
            if not got.partitions and self._may_doubt:
                # Once in a process: the share that we came back to may be of a time when the topic was gone.
                self._may_doubt = False
                subscriber.share_anew()
            return
        if not got.records:
            await self._watch()
        try:
            await self._write(subscriber, got)
        except (NotOwner, Unavailable) as error:
            _log.warning("%s reads again from what is stored: %s", self._of.consumer, error)
            await asyncio.sleep(self._backoff.next_s())
            await self._own(subscriber, frozenset(self._owned))

    async def _write(self, subscriber: Subscriber, got: Fetched) -> None:
        if not subscriber.is_current():
            return
        if got.records:
            await self._ownership.confirm(self._owned)
            await self._writer.write(self._owned, got.records, got.positions)
            await self._show_progress(subscriber)
        self._backoff.reset()
        self.progress.note(self._owned, got.positions, subscriber.seen())

    async def _own(self, subscriber: Subscriber, partitions: frozenset[TopicPartition]) -> None:
        """Take the partitions and read on from what is stored; wait out an outage for as long as they are ours."""
        self._forget()
        while subscriber.is_current():
            try:
                self._owned = await self._ownership.take(partitions)
                break
            except Unavailable as error:
                await self._wait(error)
        self.progress.own(self._owned)
        subscriber.resume_at({source: mine.next for source, mine in self._owned.items()})
        await self._show_progress(subscriber)  # also what was written just before a rebalance
        _log.info("%s owns %s", self._of.consumer, ", ".join(map(str, sorted(partitions))) or "nothing")

    async def _show_progress(self, subscriber: Subscriber) -> None:
        await subscriber.show_progress({source: mine.mark() for source, mine in self._owned.items()})

    async def _watch(self) -> None:
        """Where partitions lie that nobody took, raise Unavailable: come back with fresh metadata, ask for a share."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._watch_at_s:
            return
        self._watch_at_s = now_s + WATCH_S
        if not await self._ownership.is_complete():
            self._watch_at_s = now_s + REJOIN_S
            self._wants_share = True
            raise Unavailable("partitions lie that no member has taken")

    def _forget(self) -> None:
        self._discard()
        self._owned = {}
        self.progress.own({})

    async def _wait(self, error: Unavailable) -> None:
        _log.warning("%s waits: %s", self._of.consumer, error)
        await asyncio.sleep(self._backoff.next_s())


class EventConsumer(BatchConsumer):
    """Gives each event of ours to its route's handler, under the trace that said it."""

    def __init__(
        self, bus: Bus, pool: Pool, subscription: Subscription, routes: Routes, *, random: Random | None = None
    ) -> None:
        """Wire the consumer; `run` starts it."""
        super().__init__(bus, pool, subscription, Dispatch(routes).handle, random=random)
