"""Invoicing served over its real lifespan, and the other services around it, played by the events that they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI

from libs.access.keys import ApiKey
from libs.access.scopes import OPERATOR_SCOPES
from libs.bus.envelope import EPOCH, SEQ, SOURCE, decode, event_message
from libs.bus.ports import Bus
from libs.bus.records import Record
from libs.runtime.clock import Clock, SystemClock
from libs.runtime.tracing import span
from libs.schemas.events import CloseRequested, EventModel, InvoiceIssued, KeyKind
from libs.schemas.values import TenantId
from libs.store.pool import Pool
from services.invoicing.app import create
from services.invoicing.domain.windows import WindowCopy
from services.invoicing.settings import InvoicingSettings
from tests.support.access import WHY, bearer, key_changed, tenant_changed
from tests.support.conditions import WITHIN_S, eventually
from tests.support.invoicing import (
    AFTER,
    OCTOBER,
    REGISTERED,
    at,
    period_closed,
    plan_changed,
    requested,
    tenant_plan_changed,
    totalled,
)
from tests.support.served import served

Json = dict[str, Any]


class RunningClock:
    """A clock that starts where a test wants it and runs as the machine's does: what is retried by time is."""

    def __init__(self, start: datetime = AFTER) -> None:
        self._start = start
        self._machine = SystemClock()
        self._begun_s = self._machine.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return self._machine.monotonic() - self._begun_s


@dataclass
class World:
    """A client of invoicing, and a voice for everyone else."""

    bus: Bus
    client: httpx.AsyncClient
    pool: Pool
    seq: int = 0
    name: str = field(default_factory=lambda: uuid4().hex)
    app: FastAPI | None = None  # none where invoicing is a process of its own

    async def say(self, topic: str, event: EventModel, *, key: str, trace: str | None = None, times: int = 1) -> None:
        """Publish `event` as its owner's relay does, under `trace`; `times` > 1 as one that died in between.

        The source has this world's name in it: tests share the broker, and each counts its sequences from 1.
        """
        self.seq += 1
        with span("said by another service", parent=trace or ""):
            message = event_message(topic, event, key=key, event_id=uuid4(), at=AFTER)
        place = {EPOCH: b"1", SEQ: str(self.seq).encode(), SOURCE: f"https://maestro.example/{self.name}".encode()}
        headers = tuple((dict(message.headers) | place).items())
        stamped = replace(message, headers=headers)
        await self.bus.publisher.publish([stamped] * times)

    async def know_tenant(self, tenant: TenantId, **changes: Any) -> None:
        """Say that there is this tenant."""
        await self.say(
            "tenant-changes", tenant_changed(tenant, **({"changed_at": REGISTERED} | changes)), key=f"tenant/{tenant}"
        )

    async def know_key(self, key: ApiKey, kind: KeyKind, **changes: Any) -> None:
        """Say that there is this key, and wait until it is known here."""
        await self.say("tenant-changes", key_changed(key, kind, **changes), key=f"key/{key.key_id}")

        async def known() -> bool:
            return (await self.get("/v1/closes", key)).status_code != 401

        await eventually(known, "the key is known")

    async def operator(self, key: ApiKey) -> ApiKey:
        """Make `key` an operator's."""
        await self.know_key(key, "operator", scopes=OPERATOR_SCOPES)
        return key

    async def get(self, path: str, key: ApiKey, **headers: str) -> httpx.Response:
        """GET as the holder of `key`."""
        return await self.client.get(path, headers={"authorization": bearer(key), **headers})

    async def close(self, key: ApiKey, period: str, body: Json | None = None, **headers: str) -> httpx.Response:
        """POST a close as the holder of `key`."""
        sent = WHY | {"authorization": bearer(key), **headers}
        return await self.client.post(f"/v1/invoices/{period}/close", json=body, headers=sent)

    async def until_known(self, key: ApiKey, tenant: TenantId, period: str) -> Json:
        """Ask for the close until the tenant has reached invoicing's copy; return the close."""
        answers: list[httpx.Response] = []

        async def accepted() -> bool:
            answers.append(await self.close(key, period, {"tenants": [tenant]}))
            return answers[-1].status_code == 202

        await eventually(accepted, "the close of a tenant is accepted")
        closes: list[Json] = answers[-1].json()["closes"]
        return closes[0]

    async def until(self, key: ApiKey, close_id: str, status: str) -> Json:
        """Wait until the close has come to `status`, and return it."""
        seen: list[Json] = []

        async def reached() -> bool:
            seen.append((await self.get(f"/v1/closes/{close_id}", key)).json())
            return bool(seen[-1].get("status") == status)

        try:
            await eventually(reached, f"the close is {status}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen[-1]}") from error
        return seen[-1]

    async def heard(self, topic: str, model: type[EventModel], tenant: TenantId) -> list[tuple[Any, Record]]:
        """Return all that was said on `topic` about the tenant; what is on its way now included."""

        async def relayed() -> bool:
            return not await self.pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

        await eventually(relayed, "the outbox is empty")
        reader = self.bus.reader(topic)
        ends = await reader.start()
        found: list[Record] = []
        positions: dict[int, int] = {}
        try:
            async with asyncio.timeout(WITHIN_S):
                while any(positions.get(number, 0) < end for number, end in ends.items()):
                    got = await reader.poll()
                    found += got.records
                    positions |= {source.partition: offset for source, offset in got.positions.items()}
        finally:
            with suppress(Exception):
                await reader.stop()
        mine = [record for record in found if record.key == tenant.encode()]
        return [(decode(record, model).data, record) for record in mine]

    async def closes_asked(self, tenant: TenantId) -> list[tuple[CloseRequested, Record]]:
        """Return what metering was asked for the tenant."""
        return await self.heard("close-requests", CloseRequested, tenant)

    async def invoices_said(self, tenant: TenantId) -> list[tuple[InvoiceIssued, Record]]:
        """Return the invoices that were announced for the tenant."""
        return await self.heard("invoices", InvoiceIssued, tenant)


def fresh_tenant_id() -> TenantId:
    """Return a tenant that no other test on the same broker uses."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return TenantId("tnt_" + "".join(letters[byte % 32] for byte in uuid4().bytes + uuid4().bytes[:4]))


def fresh_prefix() -> str:
    """Return the start of a series of numbers that no other test on the same broker uses."""
    return "T" + uuid4().hex[:7].upper()


async def metered(world: World, tenant: TenantId, *, times: int = 1) -> None:
    """Say what comes after the request: two windows of usage, frozen, and a plan; everything `times` over.

    1,234,567 calls and 50 events at Starter's prices: 2.48 USD. The frozen set comes first, the prices last. The plan's
    id is the tenant's own, because tests share the broker.
    """
    totals = [totalled("gql_calls", 0, 1_234_567, tenant=tenant), totalled("ingest_events", 2_000, 50, tenant=tenant)]
    closed = period_closed([WindowCopy.of(total) for total in totals], close=requested(tenant))
    plan_id = f"plan-{tenant[4:]}"
    plan = tenant_plan_changed((plan_id, 1, OCTOBER.starts_at)).model_copy(update={"tenant_id": tenant})
    await world.say("usage-windows", closed, key=tenant, times=times)
    await world.say("plan-changes", plan, key=f"tenant/{tenant}", times=times)
    for total in totals:
        await world.say("usage-windows", total, key=tenant, times=times)
    await world.say("plan-changes", plan_changed(plan_id), key=f"plan/{plan_id}/1", times=times)


async def until_taken(world: World, tenant: TenantId) -> None:
    """Wait until all that was said on usage-windows about the tenant is taken, by saying one more thing."""
    await world.say("usage-windows", totalled("gql_calls", 2_900, 1, tenant=tenant), key=tenant)

    async def taken() -> bool:
        found = "SELECT EXISTS (SELECT FROM usage_window_copy WHERE tenant_id = $1 AND window_start = $2)"
        return bool(await world.pool.fetchval(found, tenant, at(2_900)))

    await eventually(taken, "the last total is taken")


@asynccontextmanager
async def invoicing_world(
    dsn: str, bus: Bus, clock: Clock | None = None, *, number_prefix: str = "MST"
) -> AsyncIterator[World]:
    """Serve invoicing on this database and bus until the block ends.

    Tests share the broker: one that looks at numbers has a series of its own there.
    """
    settings = InvoicingSettings(postgres_url=dsn, number_prefix=number_prefix)
    app = create(settings, bus=bus, clock=clock or RunningClock())
    async with served(app) as client:
        yield World(bus, client, app.state.pools.worker, app=app)
