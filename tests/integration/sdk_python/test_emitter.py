"""The usage emitter with the real metering service: what it emits is counted, and what is refused is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from maestro_sdk import EmitterPolicy, LostEvent, UsageCounts, UsageEmitter
from services.metering.settings import MeteringSettings
from tests.support.bus import furnished_memory
from tests.support.metering_world import World, metering_world

SOURCE = "https://shop.example/api"


@pytest.fixture
async def world(fresh_database: Callable[..., str]) -> AsyncIterator[World]:
    """Metering on a real PostgreSQL, its bus in memory."""
    async with metering_world(
        MeteringSettings(postgres_url=fresh_database("metering")), await furnished_memory()
    ) as served:
        yield served


def emitter_for(world: World, key: str, **options: Any) -> UsageEmitter:
    policy = EmitterPolicy(batch_events=50, linger_s=0.01)
    transport: httpx.AsyncBaseTransport = world.client._transport
    return UsageEmitter("http://service", key, source=SOURCE, policy=policy, transport=transport, **options)


async def test_what_is_emitted_is_counted_to_the_unit(world: World) -> None:
    tenant = await world.new_tenant()

    async with emitter_for(world, world.keys[tenant].text) as emitter:
        for _ in range(120):
            await emitter.emit("shop.ingested", {"maestro.ingest.events": 3})

    assert emitter.counts == UsageCounts(accepted=120)
    await world.until_total(tenant, 360)


async def test_an_edge_names_the_tenant_of_each_event(world: World) -> None:
    first, second = await world.new_tenant(), await world.new_tenant()
    edge = await world.new_key("edge", act_for=(first, second))

    async with emitter_for(world, edge.text) as emitter:
        await emitter.emit("shop.ingested", {"maestro.ingest.events": 2}, subject=first)
        await emitter.emit("shop.ingested", {"maestro.ingest.events": 5}, subject=second)

    await world.until_total(first, 2)
    await world.until_total(second, 5)


async def test_what_metering_refuses_is_named_and_the_rest_is_counted(world: World) -> None:
    tenant, stranger = await world.new_tenant(), await world.new_tenant()
    lost: list[LostEvent] = []

    async with emitter_for(world, world.keys[tenant].text, on_lost=lost.append) as emitter:
        await emitter.emit("shop.ingested", {"maestro.ingest.events": 1})
        refused = await emitter.emit("shop.ingested", {"maestro.ingest.events": 1}, subject=stranger)

    assert emitter.counts == UsageCounts(accepted=1, rejected=1)
    assert [(one.event.id, one.how) for one in lost] == [(refused.id, "rejected")]
    assert lost[0].reason.startswith("wrong_tenant")
    await world.until_total(tenant, 1)
