"""Metering served over its real lifespan; identity and invoicing around it are played by the events that they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from secrets import token_bytes
from typing import Any, get_args
from uuid import uuid4

import httpx
from fastapi import FastAPI

from libs.access.keys import ApiKey, base32_id, new_key
from libs.access.scopes import DEFAULT_SCOPES
from libs.bus.envelope import EPOCH, SEQ, SOURCE, decode, event_message
from libs.bus.ports import Bus
from libs.bus.records import Message, Record
from libs.runtime.clock import Clock, SystemClock
from libs.schemas.events import CloseRequested, EventModel, KeyKind, Metric, PeriodClosed, WindowTotalled
from libs.schemas.values import Period, TenantId, rfc3339
from libs.store.pool import Pool
from services.metering.app import create
from services.metering.settings import MeteringSettings
from tests.support.access import ENV, bearer, key_changed, tenant_changed
from tests.support.conditions import WITHIN_S, eventually
from tests.support.metering import cloudevent
from tests.support.served import served

Json = dict[str, Any]


@dataclass
class World:
    """A client of metering, and a voice for everyone else."""

    bus: Bus
    client: httpx.AsyncClient
    pool: Pool
    clock: Clock
    app: FastAPI
    seq: int = 0
    name: str = field(default_factory=lambda: uuid4().hex)
    keys: dict[str, ApiKey] = field(default_factory=dict)

    async def say(self, topic: str, event: EventModel, *, key: str, times: int = 1) -> None:
        """Publish `event` as its owner's relay does; `times` > 1 as one that died in between.

        The source has this world's name in it: tests share the broker, and a store that another test has restored says
        of itself a later epoch than any of ours.
        """
        self.seq += 1
        message = event_message(topic, event, key=key, event_id=uuid4(), at=self.clock.now())
        place = {EPOCH: b"1", SEQ: str(self.seq).encode(), SOURCE: f"https://maestro.example/{self.name}".encode()}
        headers = tuple((dict(message.headers) | place).items())
        await self.bus.publisher.publish([replace(message, headers=headers)] * times)

    async def new_key(self, kind: KeyKind, **changes: Any) -> ApiKey:
        """Have identity say a new key, and wait until it is known here."""
        key = new_key(ENV, token_bytes)
        await self.say_key(key, kind, **changes)

        async def known() -> bool:
            return (await self.client.get("/v1/usage", headers={"authorization": bearer(key)})).status_code != 401

        await eventually(known, "the key is known")
        return key

    async def say_key(self, key: ApiKey, kind: KeyKind, **changes: Any) -> None:
        """Have identity say this key, and do not wait."""
        said = key_changed(key, kind, **({"scopes": DEFAULT_SCOPES[kind]} | changes))
        await self.say("tenant-changes", said, key=f"key/{key.key_id}")

    async def admitted(self, key: ApiKey) -> TenantId:
        """Have identity say a new tenant, and that the edge of `key` acts for it."""
        tenant = await self.new_tenant()
        await self.say_key(key, "edge", act_for=(tenant,))
        return tenant

    async def write(self, topic: str, value: bytes | None, *headers: tuple[str, bytes], partition: int = 0) -> None:
        """Write a record to a foreign topic, as a sender with rights to the topic does."""
        await self.bus.publisher.publish([Message(topic, b"any", value, headers, partition)])

    async def until_routed(self, topic: str) -> None:
        """Wait until the group of the topic's router has committed all that lies there now."""
        ends = await self.bus.end_offsets(topic)

        async def routed() -> bool:
            found = await self.bus.committed(f"maestro.metering.router.{topic}", topic)
            return all(number in found and found[number].next >= end for number, end in ends.items())

        await eventually(routed, f"{topic} is routed", within_s=40)

    async def dead_letters(self, topic: str, at_least: int = 0) -> list[Record]:
        """Wait until the topic has so many dead letters, and return all."""
        dead = f"{topic}-dlq"

        async def written() -> bool:
            return sum((await self.bus.end_offsets(dead)).values()) >= at_least

        await eventually(written, f"{at_least} dead letters of {topic}", every_s=0.05)
        reader = self.bus.reader(dead)
        [end] = (await reader.start()).values()
        found: list[Record] = []
        try:
            async with asyncio.timeout(WITHIN_S):
                while len(found) < end:
                    found += (await reader.poll()).records
        finally:
            with suppress(Exception):
                await reader.stop()
        return found

    async def new_tenant(self, **changes: Any) -> TenantId:
        """Have identity say a new tenant and its key."""
        tenant = TenantId("tnt_" + base32_id(token_bytes, 13)[:20])
        await self.say("tenant-changes", tenant_changed(tenant, **changes), key=f"tenant/{tenant}")
        self.keys[tenant] = await self.new_key("tenant", tenant_id=tenant)
        return tenant

    async def post(self, path: str, key: ApiKey, body: object = None, **request: Any) -> httpx.Response:
        """POST as the holder of `key`; `body` is JSON, unless `content` is given."""
        headers = {"authorization": bearer(key)} | request.pop("headers", {})
        sent = request if "content" in request else {"json": body}
        return await self.client.post(path, headers=headers, **sent)

    async def send(self, tenant: TenantId, *events: Json, key: ApiKey | None = None) -> httpx.Response:
        """Send CloudEvents as one batch, as the tenant unless another key is given."""
        headers = {"content-type": "application/cloudevents-batch+json"}
        content = httpx.Request("POST", "http://x", json=list(events)).content
        return await self.post("/api/v1/events", key or self.keys[tenant], content=content, headers=headers)

    def event(self, tenant: TenantId, event_id: str, amount: object = 1, **changes: object) -> Json:
        """Return an event of `amount` ingested events, now."""
        data = {"maestro.ingest.events": amount}
        fields = {"subject": tenant, "time": rfc3339(self.clock.now()), "data": data}
        return cloudevent(event_id, **(fields | changes))

    def level(self, tenant: TenantId, event_id: str, level: int, **changes: object) -> Json:
        """Return a sample of stored bytes, now."""
        return self.event(tenant, event_id, data={"maestro.storage.bytes": level}, **changes)

    async def get(self, path: str, key: ApiKey, **query: Any) -> httpx.Response:
        """GET as the holder of `key`."""
        return await self.client.get(path, params=query or None, headers={"authorization": bearer(key)})

    async def usage(self, tenant: TenantId, metric: str = "ingest_events", **query: Any) -> Json:
        """Return the answer of GET /v1/usage around now."""
        now = self.clock.now()
        around = {"from": rfc3339(now - timedelta(days=3)), "to": rfc3339(now + timedelta(days=1))}
        billed = metric in get_args(Metric)
        path = "/v1/usage" if billed else f"/v1/meters/{metric}/usage"
        answer = await self.get(path, self.keys[tenant], **(({"metric": metric} if billed else {}) | around | query))
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def total(self, tenant: TenantId, metric: str = "ingest_events") -> Decimal:
        """Return all that is counted of the metric."""
        found = await self.usage(tenant, metric)
        return sum((Decimal(one["value"]) for one in found["items"]), Decimal(0))

    async def until_total(self, tenant: TenantId, total: object, metric: str = "ingest_events") -> None:
        """Wait until the total is counted, exactly."""
        expected, seen = Decimal(str(total)), [Decimal(-1)]

        async def counted() -> bool:
            seen.append(await self.total(tenant, metric))
            return seen[-1] == expected

        try:
            await eventually(counted, f"{metric} of {tenant} is {expected}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen[-1]}") from error

    async def until_all_is_counted(self) -> None:
        """Wait until every record of usage-shards is behind the stored offsets."""
        ends = await self.bus.end_offsets("usage-shards")
        ids = await self.bus.topic_ids(["usage-shards"])

        async def counted() -> bool:
            rows = await self.pool.fetch(
                "SELECT partition, next FROM consumer_offset WHERE consumer = 'metering.shards' AND topic_id = $1",
                ids["usage-shards"],
            )
            reached = {row["partition"]: row["next"] for row in rows}
            return all(reached.get(partition, 0) >= end for partition, end in ends.items())

        await eventually(counted, "all usage is counted", within_s=40)

    async def explain(self, tenant: TenantId, event_id: str, source: str = "test") -> Json:
        """Return what became of an event."""
        answer = await self.get(f"/v1/events/{source}/{event_id}", self.keys[tenant])
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def close_of(self, tenant: TenantId, at: datetime | None = None, **changes: Any) -> CloseRequested:
        """Return an early close of the month of `at` (default: now) in UTC."""
        now = self.clock.now()
        month = Period.month((at or now).strftime("%Y-%m"), "UTC")
        fields: dict[str, Any] = {
            "close_id": str(uuid4()),
            "tenant_id": tenant,
            "period": month.name,
            "zone": month.zone,
            "starts_at": month.starts_at,
            "ends_at": month.ends_at,
            "early": True,
            "requested_at": now,
        }
        return CloseRequested(**(fields | changes))

    async def ask_close(self, request: CloseRequested, *, times: int = 1) -> None:
        """Say the request, as invoicing does."""
        await self.say("close-requests", request, key=request.tenant_id, times=times)

    async def until_closed(self, tenant: TenantId, count: int = 1, *, within_s: float = WITHIN_S) -> list[PeriodClosed]:
        """Wait until so many closes of the tenant were said, and return them."""
        found: list[PeriodClosed] = []

        async def said() -> bool:
            found[:] = [one for one in await self.heard(tenant) if isinstance(one, PeriodClosed)]
            return len(found) >= count

        await eventually(said, f"{count} closes of {tenant} were said", within_s=within_s, every_s=0.2)
        return found

    async def windows_told(self, tenant: TenantId) -> list[WindowTotalled]:
        """Return the totals that were told of the tenant so far, in order."""
        return [one for one in await self.heard(tenant) if isinstance(one, WindowTotalled)]

    async def until_told(self, tenant: TenantId, metric: str, value: object) -> WindowTotalled:
        """Wait until a window of the metric with this value was told, and return it."""
        found: list[WindowTotalled] = []

        async def told() -> bool:
            found[:] = [
                one
                for one in await self.windows_told(tenant)
                if one.metric == metric and one.value == Decimal(str(value))
            ]
            return bool(found)

        await eventually(told, f"{metric} {value} of {tenant} was told", every_s=0.2)
        return found[-1]

    async def heard(self, tenant: TenantId) -> Sequence[WindowTotalled | PeriodClosed]:
        """Return all that was said on usage-windows about the tenant."""
        reader = self.bus.reader("usage-windows")
        ends = await reader.start()
        found: list[WindowTotalled | PeriodClosed] = []
        positions: dict[int, int] = {}
        try:
            async with asyncio.timeout(WITHIN_S):
                while any(positions.get(number, 0) < end for number, end in ends.items()):
                    got = await reader.poll()
                    found += [_read(record) for record in got.records if record.key == tenant.encode()]
                    positions |= {source.partition: offset for source, offset in got.positions.items()}
        finally:
            with suppress(Exception):
                await reader.stop()
        return found


def _read(record: Record) -> WindowTotalled | PeriodClosed:
    if record.header("ce_type") == PeriodClosed.TYPE.encode():
        return decode(record, PeriodClosed).data
    return decode(record, WindowTotalled).data


@asynccontextmanager
async def metering_world(settings: MeteringSettings, bus: Bus, clock: Clock | None = None) -> AsyncIterator[World]:
    """Serve metering with these settings on this bus until the block ends."""
    clock = clock or SystemClock()
    app = create(settings, bus=bus, clock=clock)
    async with served(app) as client:
        yield World(bus, client, app.state.pools.worker, clock, app)
