"""The wiring of quota, in the order in which things start; the exit stack closes them backwards, also after a crash."""

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
from libs.runtime.errors import Unavailable
from libs.runtime.settings import secret_from
from libs.runtime.web import create_app
from libs.store.migrate import STORE_MIGRATIONS
from libs.store.opening import opened
from libs.store.pool import transaction
from services.quota import api
from services.quota.consumer import SERVICE, Settling, consumers, plan_table_feed
from services.quota.domain.catalogue import read_catalogue
from services.quota.domain.plans import PlanTable
from services.quota.handlers import PLANS_TOPIC, Assigning, Checking
from services.quota.settings import QuotaSettings
from services.quota.store import MIGRATIONS
from services.quota.store.limiter import connect_limiter


def create(settings: QuotaSettings) -> FastAPI:
    """Return the application of quota; nothing is opened before its lifespan begins."""
    clock, directory, plan_table = SystemClock(), Directory(settings.env), PlanTable()
    bus = KafkaBus(access_of(settings), client_id=f"{SERVICE}.{settings.instance}")
    plans_feed, assigning = plan_table_feed(bus, plan_table), Assigning(clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            documents = read_catalogue(settings.plans_file.read_text("utf-8"), name=str(settings.plans_file))
            folders = [BUS_MIGRATIONS, STORE_MIGRATIONS, MIGRATIONS]
            pools = await stack.enter_async_context(opened(settings, folders, name=SERVICE))
            async with transaction(pools.worker) as tx:
                await assigning.seed(tx, documents)
            patience_s = settings.redis_patience_ms / 1000
            limiter = connect_limiter(
                settings.redis_url, secret_from(settings.redis_password_file), clock, patience_s=patience_s
            )
            stack.push_async_callback(limiter.close)
            await bus.start()
            stack.push_async_callback(bus.stop)
            await bus.require_topics(needed_by(SERVICE))
            relay = Relay(pools.worker, bus, service=SERVICE, instance=settings.instance)
            await stack.enter_async_context(background("relay", relay.run()))
            await stack.enter_async_context(background(f"reader of {PLANS_TOPIC}", plans_feed.run()))
            await stack.enter_async_context(fed(directory, bus))
            for purpose, consumer in consumers(bus, pools.worker, settings.instance, assigning).items():
                await stack.enter_async_context(background(f"consumer of {purpose}", consumer.run()))
            await stack.enter_async_context(background("settling", Settling(pools.worker, clock).run()))
            vitals = Vitals(pools.worker, bus, service=SERVICE, clock=clock)
            await stack.enter_async_context(background("vitals", vitals.run()))
            app.state.pools, app.state.assigning = pools, assigning
            door = await stack.enter_async_context(open_door(settings, directory, clock))
            app.state.door, app.state.checking = door, Checking(door, plan_table, limiter, pools.api, clock)
            yield

    async def ready() -> None:
        # Not the limiter's store: without it every process says 503 by itself, and none would be better than another.
        directory.require_ready()
        if not plans_feed.ready.is_set():
            raise Unavailable("the plans are still being read; try again")

    app = create_app(SERVICE, lifespan, ready=ready)
    app.include_router(api.router)
    return app
