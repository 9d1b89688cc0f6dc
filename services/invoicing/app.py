"""The wiring of invoicing, in the order in which its parts start; they stop backwards, also after a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from fastapi import FastAPI

from libs.access.directory import Directory
from libs.access.door import open_door
from libs.access.feed import fed
from libs.bus.kafka import KafkaBus, access_of
from libs.bus.offsets import BUS_MIGRATIONS
from libs.bus.ports import Bus
from libs.bus.relay import Relay
from libs.bus.topics import needed_by
from libs.bus.vitals import Vitals
from libs.runtime.background import background
from libs.runtime.clock import Clock, SystemClock
from libs.runtime.web import create_app
from libs.store.idempotency import swept
from libs.store.migrate import STORE_MIGRATIONS
from libs.store.opening import opened
from services.invoicing import api
from services.invoicing.consumer import SERVICE, Hearing, Issuing, consumers
from services.invoicing.domain.documents import Issuer
from services.invoicing.handlers import Billing, Closing, Copying, Recalling, show_waiting
from services.invoicing.settings import InvoicingSettings
from services.invoicing.store import MIGRATIONS

WORKER_SIZE: Final = 13  # five consumers, the relay and its listener, two loops, and four operators' requests at a time


def create(settings: InvoicingSettings, *, bus: Bus | None = None, clock: Clock | None = None) -> FastAPI:
    """Return the application; nothing is opened before its lifespan begins. Tests may bring a bus and a clock."""
    clock = clock or SystemClock()
    bus = bus or KafkaBus(access_of(settings), client_id=f"{SERVICE}.{settings.instance}")
    directory = Directory(settings.env)
    issuer = Issuer(settings.issuer_id, settings.issuer_name, settings.number_prefix)
    closing, billing = Closing(clock), Billing(clock, issuer)
    hearing = Hearing(Copying(clock), closing, Recalling(issuer))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            folders = [BUS_MIGRATIONS, STORE_MIGRATIONS, MIGRATIONS]
            pools = await stack.enter_async_context(opened(settings, folders, name=SERVICE, worker_size=WORKER_SIZE))
            await bus.start()
            stack.push_async_callback(bus.stop)
            await bus.require_topics(needed_by(SERVICE))
            app.state.pools, app.state.closing = pools, closing
            app.state.door = await stack.enter_async_context(open_door(settings, directory, clock))
            await stack.enter_async_context(fed(directory, bus))
            relay = Relay(pools.worker, bus, service=SERVICE, instance=settings.instance)
            await stack.enter_async_context(background("relay", relay.run()))
            await stack.enter_async_context(background("sweeper of idempotency keys", swept(pools.worker)))
            for purpose, consumer in consumers(bus, pools.worker, settings.instance, hearing).items():
                await stack.enter_async_context(background(f"consumer of {purpose}", consumer.run()))
            issuing = Issuing(bus, pools.worker, billing, clock)
            await stack.enter_async_context(background("issuing", issuing.run()))
            vitals = Vitals(pools.worker, bus, service=SERVICE, clock=clock, also=[show_waiting])
            await stack.enter_async_context(background("vitals", vitals.run()))
            yield

    async def ready() -> None:
        directory.require_ready()

    app = create_app(SERVICE, lifespan, ready=ready)
    app.include_router(api.router)
    return app
