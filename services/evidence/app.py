"""The wiring of evidence, in the order in which things start; all is closed backwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from libs.access.directory import Directory
from libs.access.door import open_door
from libs.access.feed import fed
from libs.bus.kafka import KafkaBus, access_of
from libs.bus.offsets import BUS_MIGRATIONS
from libs.bus.relay import Relay
from libs.bus.topics import needed_by
from libs.bus.vitals import Vitals
from libs.runtime.background import background
from libs.runtime.clock import SystemClock
from libs.runtime.web import create_app
from libs.signing.keys import SigningKey
from libs.store.migrate import STORE_MIGRATIONS
from libs.store.opening import opened
from services.evidence.api import router
from services.evidence.consumer import SERVICE, audit_consumer, invoice_consumer
from services.evidence.handlers import Reading, Recorder, Signer, adopt_key
from services.evidence.settings import EvidenceSettings
from services.evidence.store import MIGRATIONS
from services.evidence.store.objects import ObjectStore


def create(settings: EvidenceSettings) -> FastAPI:
    """Return the application. Nothing is opened before it is served."""
    clock = SystemClock()
    directory = Directory(settings.env)

    async def ready() -> None:
        directory.require_ready()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            folders = [BUS_MIGRATIONS, STORE_MIGRATIONS, MIGRATIONS]
            pools = await stack.enter_async_context(opened(settings, folders, name=SERVICE))
            key = SigningKey.load_or_make(settings.key_path)
            await adopt_key(pools.worker, key.public, replaces=settings.signing_key_replaces)
            key.public.save(settings.published_key_path)
            bus = KafkaBus(access_of(settings), client_id=f"{SERVICE}.{settings.instance}")
            await bus.start()
            stack.push_async_callback(bus.stop)
            await bus.require_topics(needed_by(SERVICE))
            objects = ObjectStore(settings.objects_path)
            signer = Signer(key, objects, clock)
            app.state.reading = Reading(pools, objects)
            relay = Relay(pools.worker, bus, service=SERVICE, instance=settings.instance)
            consumer = invoice_consumer(bus, pools.worker, settings.instance, signer)
            await stack.enter_async_context(fed(directory, bus))
            app.state.door = await stack.enter_async_context(open_door(settings, directory, clock))
            await stack.enter_async_context(background("relay", relay.run()))
            await stack.enter_async_context(background("signing of invoices", consumer.run()))
            audit = audit_consumer(bus, pools.worker, settings.instance, Recorder(clock))
            await stack.enter_async_context(background("record of changes", audit.run()))
            vitals = Vitals(pools.worker, bus, service=SERVICE, clock=clock)
            await stack.enter_async_context(background("vitals", vitals.run()))
            yield

    app = create_app(SERVICE, lifespan, ready=ready)
    app.include_router(router)
    return app
