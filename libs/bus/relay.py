"""The relay: publishes what the service has said, in order per key, once or (after a crash) twice with the same place.

First the sequences, committed; then Kafka; then the rows go. A relay that dies between any two of these is followed by
one that publishes the same rows with the same sequences, and consumers drop what they have taken. About once a
second it leaves a mark of how far it is with the broker; a store that is behind that mark says nothing
(`libs.bus.marks`).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random, SystemRandom
from typing import Final

import asyncpg

from libs.bus import lease, metrics, sequencing
from libs.bus.backoff import Backoff
from libs.bus.marks import relay_group
from libs.bus.outbox import CHANNEL
from libs.bus.ports import Bus
from libs.bus.vouching import Vouching
from libs.runtime.crashpoints import crash_point
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, Tx, connection, transaction

POLL_S: Final = 0.2  # what a missed wake-up costs at most
STANDBY_S: Final = 1.0  # how often one without the lease asks for it

_log = logging.getLogger(__name__)


class Relay:
    """One per process; of all processes on one database the leased one works, the others stand by."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        *,
        service: str,
        instance: str,
        random: Random | None = None,
        loop_time_s: Callable[[], float] | None = None,
    ) -> None:
        """Relay what `service` says in the database of `pool`. `instance` names the process, stable over restarts.

        `loop_time_s` is the running loop's time, unless a test says otherwise.
        """
        self._pool = pool
        self._bus = bus
        self._voice = bus.voice(relay_group(service))
        self._vouching = Vouching(pool, bus, service)
        self._holder = f"{service}.{instance}"
        self._token = uuid.uuid4()
        self._backoff = Backoff(random or SystemRandom())
        self._loop_time_s = loop_time_s or (lambda: asyncio.get_running_loop().time())
        self._wake = asyncio.Event()
        self._is_deaf = False

    async def run(self) -> None:
        """Relay until cancelled. Outages of store and broker are waited out. Raises StoreWentBack."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._give_back)
            while True:
                await self._until_outage()
                await asyncio.sleep(self._backoff.next_s())

    async def _until_outage(self) -> None:
        try:
            async with self._listening():
                await self._vouching.refuse_if_behind()  # after every outage: another store may stand where ours was
                await self._work()
        except Unavailable as error:
            _log.warning("relay waits: %s", error)

    async def drain(self) -> int:
        """Publish all that is said now; return how many rows that was, 0 without the lease."""
        done = 0
        while turn := await self._turn():
            done += turn
        return done

    async def _work(self) -> None:
        """Turn after turn until something is unavailable."""
        while not self._is_deaf:
            done = await self._turn()
            await self._vouching.leave_marks(self._loop_time_s())
            self._backoff.reset()
            if done:
                continue
            wait_s = POLL_S if done is not None else STANDBY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # wait_for can swallow a cancellation before Python 3.12
                    await self._wake.wait()
            self._wake.clear()
        raise Unavailable("the connection that listens was lost")

    async def _turn(self) -> int | None:
        """Publish one batch. Returns its size, 0 where nothing was said, None where another relay has the lease.

        Raises Unavailable where the process stood still for so long that the lease may be another's by now, or where
        another speaks already. The next turn asks for the lease again.
        """
        until_s = self._loop_time_s() + lease.SPEAK_S  # taken first: the lease starts later, and so ends later
        async with transaction(self._pool) as tx:
            if not await sequencing.anything_said(tx):
                return 0
            if not await self._has_the_lease(tx):
                return None
            rows = await sequencing.unpublished(tx)
            if not rows:
                await sequencing.give_out(tx, self._bus.partitions)
                rows = await sequencing.unpublished(tx)
        crash_point("relay.sequenced")
        await self._voice.publish([row.message() for row in rows], until_s=until_s)
        crash_point("relay.published")
        async with transaction(self._pool) as tx:
            await sequencing.forget(tx, [row.id for row in rows])
        metrics.PUBLISHED.add(len(rows))
        self._vouching.note(rows)
        return len(rows)

    async def _has_the_lease(self, tx: Tx) -> bool:
        if await lease.hold(tx, self._token):
            return True
        if not await lease.seize(tx, token=self._token, holder=self._holder):
            return False
        await self._voice.renew()  # what the holder before us has in hand is refused where we write
        return True

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """Be woken by NOTIFY while the block runs; polling alone would do, only later."""
        async with connection(self._pool) as listener:
            self._is_deaf = False
            listener.add_termination_listener(self._on_lost)
            await listener.add_listener(CHANNEL, self._on_notify)
            try:
                yield
            finally:
                with suppress(asyncpg.InterfaceError):  # a lost connection is back in the pool already
                    listener.remove_termination_listener(self._on_lost)
                    await listener.remove_listener(CHANNEL, self._on_notify)

    def _on_notify(self, *_: object) -> None:
        self._wake.set()

    def _on_lost(self, *_: object) -> None:
        self._is_deaf = True
        self._wake.set()

    async def _give_back(self) -> None:
        try:
            async with transaction(self._pool) as tx:
                await lease.release(tx, self._token)
        except Unavailable:
            _log.info("the lease was not given back; it runs out by itself")
