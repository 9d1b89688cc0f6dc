"""The wiring of identity, in the order in which things start; they close backwards, also after a crash."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI

from libs.access.directory import Directory
from libs.access.door import open_door
from libs.access.feed import fed
from libs.bus.kafka import KafkaBus, access_of
from libs.bus.offsets import BUS_MIGRATIONS
from libs.bus.relay import Relay
from libs.bus.table import CompactedTable
from libs.bus.topics import needed_by
from libs.bus.vitals import Vitals
from libs.runtime.background import background
from libs.runtime.clock import SystemClock
from libs.runtime.errors import Unavailable
from libs.runtime.web import create_app
from libs.store.idempotency import swept
from libs.store.migrate import STORE_MIGRATIONS
from libs.store.opening import opened
from libs.store.pool import transaction
from services.identity import api
from services.identity.consumer import PLANS_TOPIC, learn_plan
from services.identity.domain import KnownPlans
from services.identity.handlers import Registrar
from services.identity.settings import IdentitySettings, operator_key_of
from services.identity.store import MIGRATIONS


def create(settings: IdentitySettings) -> FastAPI:
    """Return the application of identity; nothing is opened before its lifespan begins."""
    clock, directory, plans = SystemClock(), Directory(settings.env), KnownPlans()
    bus = KafkaBus(access_of(settings), client_id=f"identity.{settings.instance}")
    plan_table = CompactedTable(bus, PLANS_TOPIC, partial(learn_plan, plans))
    registrar = Registrar(settings.env, settings.region, plans, clock, secrets.token_bytes)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            folders = [BUS_MIGRATIONS, STORE_MIGRATIONS, MIGRATIONS]
            pools = await stack.enter_async_context(opened(settings, folders, name="identity"))
            await bus.start()
            stack.push_async_callback(bus.stop)
            await bus.require_topics(needed_by("identity"))
            async with transaction(pools.worker) as tx:
                await registrar.adopt_operator_key(tx, operator_key_of(settings))
            relay = Relay(pools.worker, bus, service="identity", instance=settings.instance)
            await relay.drain()  # what was said before the start is in the directory before we are ready
            await stack.enter_async_context(background("relay", relay.run()))
            vitals = Vitals(pools.worker, bus, service="identity", clock=clock)
            await stack.enter_async_context(background("vitals", vitals.run()))
            await stack.enter_async_context(background("sweeper of idempotency keys", swept(pools.worker)))
            await stack.enter_async_context(background(f"reader of {PLANS_TOPIC}", plan_table.run()))
            await stack.enter_async_context(fed(directory, bus))
            app.state.door = await stack.enter_async_context(open_door(settings, directory, clock))
            app.state.registrar, app.state.pools = registrar, pools
            yield

    async def ready() -> None:
        directory.require_ready()
        if not plan_table.ready.is_set():
            raise Unavailable("the plans are still being read; try again")

    app = create_app("identity", lifespan, ready=ready)
    app.include_router(api.router)
    return app
