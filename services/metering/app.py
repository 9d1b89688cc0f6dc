"""The wiring of metering, in the order in which things start; they close backwards, also after a crash."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from fastapi import FastAPI

from libs.access.directory import Directory
from libs.access.door import open_door
from libs.access.feed import fed
from libs.access.principal import Principal
from libs.bus.consumer import BatchConsumer
from libs.bus.kafka import KafkaBus, access_of
from libs.bus.lots import LotBounds
from libs.bus.offsets import BUS_MIGRATIONS
from libs.bus.ports import Bus
from libs.bus.relay import Relay
from libs.bus.topics import needed_by
from libs.bus.vitals import Vitals
from libs.runtime.background import background
from libs.runtime.clock import Clock, SystemClock
from libs.runtime.errors import Unavailable
from libs.runtime.web import create_app
from libs.store.idempotency import swept
from libs.store.migrate import STORE_MIGRATIONS
from libs.store.opening import opened
from libs.store.pool import Pool, transaction
from services.metering import api, metrics, rpc
from services.metering.consumer import (
    Closer,
    Forgetter,
    Teller,
    archiver,
    close_consumer,
    foreign_consumer,
    foreign_subscription,
    keep_archiving,
    keep_correcting,
    keep_looking,
    keep_merging,
    overflow_consumer,
    overflow_subscription,
    repeat,
    shard_consumer,
    stand_alone,
)
from services.metering.domain.accounts import Accounts
from services.metering.domain.foreign import READERS
from services.metering.domain.identity import Fingerprints
from services.metering.domain.versions import MeterBook
from services.metering.handlers.archiving import Archive
from services.metering.handlers.asking import Asking
from services.metering.handlers.awaiting import Awaited
from services.metering.handlers.batches import ShardOwner
from services.metering.handlers.closing import Closing, show_waiting
from services.metering.handlers.correcting import Correcting
from services.metering.handlers.correcting import show_waiting as show_corrections
from services.metering.handlers.dividing import Divider
from services.metering.handlers.edge import Gate, UsageEdge
from services.metering.handlers.explaining import Explaining
from services.metering.handlers.known_ids import KnownIds
from services.metering.handlers.merging import Merger
from services.metering.handlers.meter_versions import LOOK_PAUSE_S, Keeping, MeterDesk
from services.metering.handlers.overflowing import Overflow
from services.metering.handlers.publishing import Publishing
from services.metering.handlers.queries import Queries
from services.metering.handlers.reading import OVERFLOW_TOPIC, Reading
from services.metering.handlers.routing import Keyring, Router
from services.metering.handlers.waiting import Waiting
from services.metering.settings import MeteringSettings, meters_in_force
from services.metering.store import MIGRATIONS, ids
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.run_files import RunFiles

SHARD_MEMBERS: Final = 2  # of a process: while the batch of one is in the database, the other decides about its own

_log = logging.getLogger(__name__)


def create(settings: MeteringSettings, *, bus: Bus | None = None, clock: Clock | None = None) -> FastAPI:
    """Return the application of metering; nothing is opened before its lifespan begins."""
    clock, directory, instance = clock or SystemClock(), Directory(settings.env), settings.instance
    bus = bus or KafkaBus(access_of(settings), client_id=f"metering.{instance}")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        shipped, meters = meters_in_force(settings), MeterBook()
        async with AsyncExitStack() as stack:
            folders = [BUS_MIGRATIONS, STORE_MIGRATIONS, MIGRATIONS]
            pools = await stack.enter_async_context(opened(settings, folders, name="metering"))
            pool = pools.worker
            await bus.start()
            stack.push_async_callback(bus.stop)
            await bus.require_topics(needed_by("metering"))
            fingerprints = await _fingerprints(pool)
            keeping = Keeping(pool, meters, clock)
            await keeping.begin(shipped)
            reading = Reading(bus, pool, clock, tuple(settings.bound_topics))
            publishing = Publishing(bus, pool, clock, settings.region)
            divider = Divider(bus, settings.region, _accounts(settings))
            edge = UsageEdge(bus, fingerprints, meters, clock, divider)
            routers = list(_routers(settings, edge, pool, directory))
            vitals = _vitals(bus, pool, clock, instance, routers)
            owners = [_owner(bus, pool, settings, meters, number) for number in range(SHARD_MEMBERS)]
            works = {
                "relay": Relay(pool, bus, service="metering", instance=instance).run(),
                **{f"consumer of usage-shards {at}": one.consumer.run() for at, one in enumerate(owners)},
                **{f"merger of ids {at}": keep_merging(one.merger) for at, one in enumerate(owners)},
                "consumer of close-requests": close_consumer(bus, pool, instance).run(),
                "closer": Closer(reading, pool, Closing(meters, clock), Awaited(reading)).run(),
                "corrector": keep_correcting(
                    Correcting(reading, pool, ArchiveFolder(settings.archive_folder), meters, fingerprints)
                ),
                "sweeper of idempotency keys": swept(pool),
                "teller": Teller(reading, pool, meters, publishing).run(),
                "meters": repeat("reading the meters", keeping.turn, LOOK_PAUSE_S),
                "forgetter": Forgetter(reading, pool, [one.known for one in owners]).run(),
                "isolation": keep_looking(divider, reading),
                "vitals": vitals.run(),
            }
            for name, work in works.items():
                await stack.enter_async_context(background(name, work))
            await stack.enter_async_context(fed(directory, bus))
            app.state.door = await stack.enter_async_context(open_door(settings, directory, clock))
            app.state.gate = Gate()
            await _start_beside(stack, settings, edge, pool, routers)
            app.state.edge = edge
            app.state.meter_desk = MeterDesk(pools.api, clock, meters)
            app.state.queries = Queries(pools.api, replace(reading, pool=pools.api), fingerprints)
            app.state.correcting = Asking(fingerprints, is_archived=settings.archive)
            app.state.waiting = Waiting(pools.api, replace(reading, pool=pools.api))
            app.state.explaining = _explaining(settings, pools.api, reading)
            app.state.meters, app.state.shards, app.state.pools = meters, [one.consumer for one in owners], pools
            if settings.otlp_grpc_port is not None:
                service = rpc.TraceService(app.state.door, app.state.edge, app.state.gate)
                address = f"{settings.host}:{settings.otlp_grpc_port}"
                app.state.otlp_grpc_port = await stack.enter_async_context(rpc.serving(address, service, ready))
            yield

    async def ready() -> None:
        directory.require_ready()
        if not any(
            one.progress.lag() for one in app.state.shards
        ):  # empty: no partition is ours yet, or the broker never answered
            raise Unavailable("the shards are not assigned yet; try again")

    app = create_app("metering", lifespan, ready=ready)
    for router in api.ROUTERS:
        app.include_router(router)
    return app


@dataclass(frozen=True, slots=True)
class Owning:
    """One member of the group of shard owners: what it knows, and what works for it."""

    consumer: BatchConsumer
    known: KnownIds
    merger: Merger


def _owner(bus: Bus, pool: Pool, settings: MeteringSettings, meters: MeterBook, number: int) -> Owning:
    name = settings.instance if number == 0 else f"{settings.instance}.{number}"
    files = RunFiles(settings.runs_path.with_name(name))
    known = KnownIds(bus, pool, files)
    return Owning(shard_consumer(bus, pool, name, ShardOwner(meters, known)), known, Merger(known, pool, files))


def _explaining(settings: MeteringSettings, pool: Pool, reading: Reading) -> Explaining:
    folder = settings.readable_archive
    return Explaining(pool, replace(reading, pool=pool), None if folder is None else ArchiveFolder(folder))


def _vitals(bus: Bus, pool: Pool, clock: Clock, instance: str, routers: Sequence[Router]) -> Vitals:
    return Vitals(
        *(pool, bus),
        service="metering",
        clock=clock,
        also=[show_waiting, show_corrections, Keyring(routers).show],
        forwarded=[
            *(foreign_subscription(router.topic, instance) for router in routers),
            overflow_subscription(instance),
        ],
    )


async def _start_beside(
    stack: AsyncExitStack, settings: MeteringSettings, edge: UsageEdge, pool: Pool, routers: Sequence[Router]
) -> None:
    """Start what stands still by itself and stops nothing else: routers, the forwarder, and the archiver."""
    bus = edge.bus
    for router in routers:
        work = stand_alone(router.topic, partial(_route, bus, settings.instance, router))
        await stack.enter_async_context(background(f"router of {router.topic}", work))
    work = stand_alone(OVERFLOW_TOPIC, partial(_forward, bus, settings.instance, Overflow(edge.divider, pool)))
    await stack.enter_async_context(background(f"forwarder of {OVERFLOW_TOPIC}", work))
    if settings.archive:
        work = keep_archiving(partial(_archive, bus, pool, settings, edge.meters))
        await stack.enter_async_context(background("archiver", work))


def _accounts(settings: MeteringSettings) -> Accounts:
    return Accounts(
        first=settings.first_waiting_events,
        most_diverted=settings.most_diverted_events,
        weights={str(tenant): weight for tenant, weight in settings.tenant_weights.items()},
        is_fair=settings.fair_share,
    )


def _routers(settings: MeteringSettings, edge: UsageEdge, pool: Pool, directory: Directory) -> Iterator[Router]:
    """Yield the router of every foreign topic that is bound to a key; say of the others that they are not read."""
    for topic in READERS:
        key_id = settings.bound_topics.get(topic)
        if key_id is None:
            metrics.ROUTER_STOPPED.replace(topic, [({"topic": topic}, 0)])  # none stands still, as none is needed
            _log.info("topic %s is bound to no key: it is not read, and what lies there waits", topic)
        else:
            yield Router(topic, edge, pool, partial(_edge_now, directory, edge.clock, key_id))


async def _route(bus: Bus, instance: str, router: Router) -> None:
    await foreign_consumer(bus, instance, router).run()


async def _forward(bus: Bus, instance: str, overflow: Overflow) -> None:
    await overflow_consumer(bus, instance, overflow).run()


async def _archive(bus: Bus, pool: Pool, settings: MeteringSettings, meters: MeterBook) -> None:
    archive = Archive(ArchiveFolder(settings.archive_folder), pool, meters)
    bounds = LotBounds(settings.archive_max_bytes, settings.archive_max_age_s)
    await archiver(bus, pool, settings.instance, archive, bounds).run()


def _edge_now(directory: Directory, clock: Clock, key_id: str) -> Principal:
    return directory.edge(key_id, clock.now())


async def _fingerprints(pool: Pool) -> Fingerprints:
    async with transaction(pool) as tx:
        return Fingerprints(await ids.fingerprint_secret(tx))
