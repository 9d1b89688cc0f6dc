"""Being a member of a consumer group: take what is assigned, give what is fetched, come back after every failure.

    poll -> Assigned: take the partitions, learn where to read on, seek
         -> Fetched:  give the records

One way back from every failure: discard memory, take the partitions again, read on from what is kept.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from random import Random, SystemRandom
from typing import Final

from libs.bus.backoff import Backoff
from libs.bus.offsets import NotOwner
from libs.bus.ports import Assigned, Bus, Fetched, Offsets, OutOfRange, Subscriber
from libs.bus.records import TopicPartition
from libs.bus.subscription import Subscription, offset_lost
from libs.runtime.errors import Unavailable

WATCH_S: Final = 5.0  # how often one that has nothing to read asks whether every partition has been taken
REJOIN_S: Final = 30.0  # how often at most it has the group share anew; each time all members pause

_log = logging.getLogger(__name__)


class Member(ABC):
    """The loop of a consumer. What is kept where, and what is done with records, is for those who derive from it."""

    def __init__(self, bus: Bus, subscription: Subscription, random: Random | None) -> None:
        """Wire the member; `run` starts it."""
        self._bus = bus
        self._of = subscription
        self._backoff = Backoff(random or SystemRandom())
        self._partitions: frozenset[TopicPartition] = frozenset()
        self._watch_at_s = 0.0
        self._wants_share = False
        self._may_doubt = True

    @abstractmethod
    async def _begin(self) -> None:
        """Run before each joining; raises Unavailable."""

    @abstractmethod
    async def _take(self, subscriber: Subscriber, partitions: frozenset[TopicPartition]) -> Offsets:
        """Own `partitions` and return where to read on in each; raises Unavailable, or Broken."""

    @abstractmethod
    async def _give(self, subscriber: Subscriber, got: Fetched) -> None:
        """Do what follows from `got` and keep how far that is; raises Unavailable or NotOwner to read it again."""

    @abstractmethod
    async def _is_complete(self) -> bool:
        """Return whether some member has taken every partition of the topics as they now are."""

    @abstractmethod
    def _forget(self) -> None:
        """Own nothing: what is held in memory may be wrong."""

    async def run(self) -> None:
        """Consume until cancelled. Outages are waited out; Broken where going on could lose or double something."""
        while True:
            try:
                await self._begin()
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
        if not subscriber.is_current():
            return
        try:
            await self._give(subscriber, got)
            self._backoff.reset()
        except (NotOwner, Unavailable) as error:
            _log.warning("%s reads again from what is kept: %s", self._of.consumer, error)
            await asyncio.sleep(self._backoff.next_s())
            await self._own(subscriber, self._partitions)

    async def _own(self, subscriber: Subscriber, partitions: frozenset[TopicPartition]) -> None:
        """Take the partitions and read on from what is kept; wait out an outage for as long as they are ours."""
        self._forget()
        self._partitions = partitions
        positions: Offsets = {}
        while subscriber.is_current():
            try:
                positions = await self._take(subscriber, partitions)
                break
            except Unavailable as error:
                await self._wait(error)
        subscriber.resume_at(positions)
        _log.info("%s owns %s", self._of.consumer, ", ".join(map(str, sorted(partitions))) or "nothing")

    async def _watch(self) -> None:
        """Where partitions lie that nobody took, raise Unavailable: come back with fresh metadata, ask for a share."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._watch_at_s:
            return
        self._watch_at_s = now_s + WATCH_S
        if not await self._is_complete():
            self._watch_at_s = now_s + REJOIN_S
            self._wants_share = True
            raise Unavailable("partitions lie that no member has taken")

    async def _wait(self, error: Unavailable) -> None:
        _log.warning("%s waits: %s", self._of.consumer, error)
        await asyncio.sleep(self._backoff.next_s())
