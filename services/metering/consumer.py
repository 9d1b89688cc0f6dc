"""What drives metering: its subscriptions, and three loops beside them: closing, telling windows, forgetting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from random import SystemRandom
from typing import Final

from libs.bus.backoff import Backoff
from libs.bus.consumer import BatchConsumer, EventConsumer
from libs.bus.forwarder import Forwarder
from libs.bus.lots import LotBounds, LotConsumer
from libs.bus.offsets import Replaced
from libs.bus.ports import Bus
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription
from libs.runtime.errors import Rejected, Unavailable
from libs.runtime.tracing import span
from libs.schemas.events import CloseRequested
from libs.schemas.values import microseconds
from libs.store.pool import Pool, transaction
from services.metering import metrics
from services.metering.domain.intake import DEDUP_HORIZON
from services.metering.domain.meters import Meter, Meters
from services.metering.handlers.archiving import Archive
from services.metering.handlers.awaiting import Awaited
from services.metering.handlers.batches import ShardOwner
from services.metering.handlers.clearing import clear_away
from services.metering.handlers.closing import Closing, on_close_requested
from services.metering.handlers.correcting import Correcting
from services.metering.handlers.dividing import LOOK_S, Divider
from services.metering.handlers.integrating import integrate_due
from services.metering.handlers.known_ids import KnownIds
from services.metering.handlers.merging import Merger
from services.metering.handlers.overflowing import Overflow
from services.metering.handlers.publishing import MAX_WINDOWS, Publishing
from services.metering.handlers.reading import ARCHIVE_PURPOSE, OVERFLOW_TOPIC, SHARDS_TOPIC, Reading, router_of
from services.metering.handlers.routing import Router
from services.metering.store import closes, runs
from services.metering.store.closes import OpenRequest

SERVICE: Final = "metering"
CLOSES_TOPIC: Final = "close-requests"

MAX_RECORDS: Final = 20_000  # of one batch, about the bytes of a fetch: ten times less took twice as long an event
MAX_ARCHIVED_RECORDS: Final = 2_000  # of one fetch; a lot holds many, and is bound by its bytes
MAX_OVERFLOW_RECORDS: Final = 100  # of one fetch, shared out by turns: 20,000 events, a fifth of a second of owners
MAX_FOREIGN_RECORDS: Final = 500  # of one fetch, as many requests as an edge takes in a second or so; each may be large
STAND_PAUSE_S: Final = 60.0  # longer than the session of a member: then the group is empty, and its offset can be reset
CLOSE_PAUSE_S: Final = 0.2  # how long a close that can be done may lie; one index look-up each time
CORRECT_PAUSE_S: Final = 0.2  # likewise for a correction
MAX_CLOSES: Final = 200  # tried on one look; a month's end has thousands, oldest first
TELL_PAUSE_S: Final = (
    1.0  # windows are told at most so often: a total that changes a thousand times a second is told once
)
TELL_WINDOWS_S: Final = 2_000  # on the average, beyond the first MAX_WINDOWS: a flood of changes is told in fewer steps
FORGET_PAUSE_S: Final = 10.0
MERGE_PAUSE_S: Final = 0.5  # small runs that wait meanwhile cost a batch some microseconds each

_log = logging.getLogger(__name__)


def shard_consumer(bus: Bus, pool: Pool, instance: str, owner: ShardOwner) -> BatchConsumer:
    """Return the consumer of usage-shards."""
    subscription = Subscription(SERVICE, "shards", (SHARDS_TOPIC,), instance, max_records=MAX_RECORDS)
    known = owner.known
    return BatchConsumer(bus, pool, subscription, owner.take, discard=known.discard, load=known.load)


def close_consumer(bus: Bus, pool: Pool, instance: str) -> EventConsumer:
    """Return the consumer of close-requests."""
    routes = Routes()
    routes.on(CloseRequested, on_close_requested)
    return EventConsumer(bus, pool, Subscription(SERVICE, "closes", (CLOSES_TOPIC,), instance), routes)


def foreign_subscription(topic: str, instance: str) -> Subscription:
    """Return what the router of a foreign topic reads; all that it keeps is how far it is, in the broker."""
    return Subscription(
        SERVICE, f"router.{topic}", (topic,), instance, max_records=MAX_FOREIGN_RECORDS, kept_in="broker"
    )


def foreign_consumer(bus: Bus, instance: str, router: Router) -> Forwarder:
    """Return the consumer of a foreign topic."""
    return Forwarder(bus, foreign_subscription(router.topic, instance), router.route)


def overflow_subscription(instance: str) -> Subscription:
    """Return what the forwarder of usage-overflow reads; how far it is lies in the broker."""
    of, topics = router_of(OVERFLOW_TOPIC).removeprefix(f"{SERVICE}."), (OVERFLOW_TOPIC,)
    return Subscription(SERVICE, of, topics, instance, max_records=MAX_OVERFLOW_RECORDS, kept_in="broker")


def overflow_consumer(bus: Bus, instance: str, overflow: Overflow) -> Forwarder:
    """Return the consumer of usage-overflow."""
    return Forwarder(bus, overflow_subscription(instance), overflow.forward)


async def keep_looking(divider: Divider, reading: Reading) -> None:
    """Look until cancelled how far owners are, so that no tenant puts too much in front of others."""
    await repeat("looking how far usage is counted", partial(divider.look, reading), LOOK_S)


def archiver(bus: Bus, pool: Pool, instance: str, archive: Archive, bounds: LotBounds) -> LotConsumer:
    """Return the consumer that archives usage-shards, beside the shard owners."""
    subscription = Subscription(SERVICE, ARCHIVE_PURPOSE, (SHARDS_TOPIC,), instance, max_records=MAX_ARCHIVED_RECORDS)
    return LotConsumer(bus, pool, subscription, archive, bounds)


async def keep_archiving(archive: Callable[[], Awaitable[None]], pause_s: float = STAND_PAUSE_S) -> None:
    """Run the archiver until cancelled, begun anew after it stopped: counting does not stop because it did.

    Raises Replaced: then nothing of this process is to go on.
    """
    metrics.ARCHIVE_STANDS.replace(SERVICE, [({}, 0)])
    while True:
        try:
            await archive()
        except Replaced:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, usage is counted meanwhile
            _log.critical("the archiver stands still; it looks again in %g s", pause_s, exc_info=True)
        metrics.ARCHIVE_STANDS.replace(SERVICE, [({}, 1)])
        await asyncio.sleep(pause_s)


async def keep_merging(merger: Merger) -> None:
    """Merge runs of ids until cancelled."""
    await repeat("merging runs of ids", merger.turn, MERGE_PAUSE_S)


async def keep_correcting(correcting: Correcting) -> None:
    """Answer corrections until cancelled."""
    await repeat("correcting", correcting.turn, CORRECT_PAUSE_S)


async def stand_alone(topic: str, route: Callable[[], Awaitable[None]], pause_s: float = STAND_PAUSE_S) -> None:
    """Run the router of `topic` until cancelled, begun anew after it stopped: its stop is no reason to stop the edge.

    What made it stop (an offset that does not fit the log, or a fault of ours) is looked at again after each pause. It
    passes nothing over by itself: closes and the watermark wait meanwhile, as they do for its lag.
    """
    while True:
        metrics.ROUTER_STOPPED.replace(topic, [({"topic": topic}, 0)])
        try:
            await route()
        except Exception:  # noqa: BLE001 - whatever it is, usage that comes by HTTP is not to wait for it
            _log.critical("the router of %s stands still; it looks again in %g s", topic, pause_s, exc_info=True)
        metrics.ROUTER_STOPPED.replace(topic, [({"topic": topic}, 1)])
        await asyncio.sleep(pause_s)


async def repeat(name: str, turn: Callable[[], Awaitable[bool]], pause_s: float) -> None:
    """Take turns until cancelled, without a pause while a turn says that there is more. Outages are waited out."""
    backoff = Backoff(SystemRandom())
    while True:
        try:
            has_more = await turn()
            backoff.reset()
        except Unavailable as error:
            _log.warning("%s waits: %s", name, error)
            await asyncio.sleep(backoff.next_s())
            continue
        if not has_more:
            await asyncio.sleep(pause_s)


@dataclass(slots=True)
class Closer:
    """Closes periods once all that was acknowledged before their request was seen is routed, and then counted."""

    reading: Reading
    pool: Pool
    closing: Closing
    awaited: Awaited

    async def run(self) -> None:
        """Close until cancelled."""
        await repeat("closing", self.turn, CLOSE_PAUSE_S)

    async def turn(self) -> bool:
        """Close what can be closed now; return whether more of it may wait."""
        async with transaction(self.pool) as tx:
            waiting = await closes.open_requests(tx, MAX_CLOSES)
        await self.awaited.look(waiting)
        if not waiting:
            return False
        progress = await self.reading.progress()
        reached = {partition: one.reached for partition, one in progress.items()}
        ready = [one for one in waiting if self.awaited.is_counted(one.request.close_id, reached)]
        done = [await self._close(one) for one in ready]
        return any(done)

    async def _close(self, one: OpenRequest) -> bool:
        request = one.request
        try:
            with span("close period", parent=one.traceparent):
                async with transaction(self.pool) as tx:
                    closed = await self.closing.close(tx, request)
        except Rejected as refused:
            # This period cannot be said as it is; others can. It stays open, is tried again, and is seen in the log.
            _log.error("close %s cannot be done: %s", request.close_id, refused)
            return False
        if closed is not None:
            _log.info("closed %s of %s", closed.period, closed.tenant_id, extra={"close_id": request.close_id})
        return True


@dataclass(frozen=True, slots=True)
class Teller:
    """Integrates gauges up to the watermark and tells windows that changed, at most once a second."""

    reading: Reading
    pool: Pool
    meters: Meters
    publishing: Publishing

    async def run(self) -> None:
        """Tell until cancelled."""
        await repeat("telling windows", self.turn, TELL_PAUSE_S)

    async def turn(self) -> bool:
        """Tell all that changed until now. Returns False: there is never more before the pause is over."""
        watermarks = await self.reading.watermarks()
        # Up to the furthest: where a level comes later than that, it is integrated again from there.
        watermark_at = watermarks.greatest()
        if watermark_at is not None:
            for meter in self.meters.gauges().values():
                await self._integrate(meter, watermark_at)
        told = 0
        while (count := await self.publishing.turn(watermarks)) == MAX_WINDOWS:
            told += count
        await asyncio.sleep(told / TELL_WINDOWS_S)
        return False

    async def _integrate(self, meter: Meter, watermark_at: datetime) -> None:
        after: str | None = ""
        while after is not None:
            async with transaction(self.pool) as tx:
                after = await integrate_due(tx, meter, watermark_at, after)


@dataclass(frozen=True, slots=True)
class Forgetter:
    """Forgets ids the dedup horizon behind the watermark: no edge takes a copy of their events any more.

    An event's age counts from its time or from when it was seen, whichever is later: a back-dated one is kept as long.
    Ids go by whole runs, with the youngest id of theirs, which is at most a week after the oldest.
    """

    reading: Reading
    pool: Pool
    known: Sequence[KnownIds]

    async def run(self) -> None:
        """Forget until cancelled."""
        await repeat("forgetting old ids", self.turn, FORGET_PAUSE_S)

    async def turn(self) -> bool:
        """Forget runs that are old enough, clear one lot away; return whether there may be more."""
        watermark_at = (await self.reading.watermarks()).least()
        if watermark_at is not None:
            async with transaction(self.pool) as tx:
                forgotten = await runs.forget_before(tx, microseconds(watermark_at - DEDUP_HORIZON))
            if forgotten:
                for one in self.known:
                    one.look_again()
        async with transaction(self.pool) as tx:
            return await clear_away(tx)
