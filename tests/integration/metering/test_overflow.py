"""What is more than a tenant's share takes the long way: it is counted once, and holds up nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import grpc
import pytest

from libs.access.keys import ApiKey
from libs.bus.memory import MemoryBus
from libs.bus.ports import Committed
from libs.runtime.clock import ManualClock
from libs.runtime.metrics import start_metrics
from libs.schemas.values import TenantId, microseconds, rfc3339
from libs.store.pool import transaction
from services.metering.domain.accounts import overflow_partition_of
from services.metering.settings import MeteringSettings
from services.metering.store.fence import hold_fence
from tests.support.access import bearer
from tests.support.conditions import eventually
from tests.support.exposed import exposed
from tests.support.metering import export, graphql_span
from tests.support.metering_world import World, metering_world
from tests.support.otlp_grpc import otlp_client

OVERFLOW = "usage-overflow"
GROUP = f"maestro.metering.router.{OVERFLOW}"
BATCH = 50


@pytest.fixture
def settings(settings: MeteringSettings) -> MeteringSettings:
    """Room for two batches before anybody is held to a share, and for four on usage-overflow."""
    return settings.model_copy(
        update={"first_waiting_events": 2 * BATCH, "most_diverted_events": 4 * BATCH, "otlp_grpc_port": 0}
    )


async def sent(world: World, tenant: TenantId, lot: int, key: ApiKey | None = None) -> int:
    """Send a batch of new events; return the status of the answer."""
    events = [world.event(tenant, f"{lot}-{number}") for number in range(BATCH)]
    return (await world.send(tenant, *events, key=key)).status_code


@asynccontextmanager
async def owners_at_rest(world: World) -> AsyncIterator[None]:
    """Keep batches from being counted until the block ends."""
    async with transaction(world.pool) as tx:
        await hold_fence(tx)
        yield


async def diverted(world: World) -> int:
    """Return how many records lie, or lay, on usage-overflow."""
    return sum((await world.bus.end_offsets(OVERFLOW)).values())


async def fill(world: World, tenant: TenantId) -> list[int]:
    """Send until edges ask to come back later; return the answers before."""
    return [await sent(world, tenant, lot) for lot in range(6)]


async def test_what_is_within_the_room_goes_the_short_way(world: World) -> None:
    tenant = await world.new_tenant()
    assert await sent(world, tenant, 1) == 204
    await world.until_total(tenant, BATCH)
    assert await diverted(world) == 0


async def test_a_flood_is_diverted_and_a_tenant_within_its_share_is_not(world: World) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    async with owners_at_rest(world):
        assert [await sent(world, tenant, lot) for lot in range(4)] == [204] * 4
        of_tenant = await diverted(world)
        await world.send(other, world.event(other, "1", 7))
        in_all = await diverted(world)
    await world.until_total(tenant, 4 * BATCH)
    await world.until_total(other, 7)
    assert of_tenant == in_all > 0


async def test_the_same_events_by_both_ways_count_once(world: World) -> None:
    tenant = await world.new_tenant()
    async with owners_at_rest(world):
        for _ in range(5):
            await sent(world, tenant, 1)
        assert await diverted(world) > 0
    await world.until_routed(OVERFLOW)
    await world.until_all_is_counted()
    assert await world.total(tenant) == BATCH
    assert await world.pool.fetchval("SELECT sum(copies) FROM usage_duplicate") == 4 * BATCH


async def test_whoever_floods_on_is_told_to_come_back_and_others_are_not(world: World) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    async with owners_at_rest(world):
        taken = await fill(world, tenant)
        refused = await world.send(tenant, world.event(tenant, "more"))
        of_other = await world.send(other, world.event(other, "1", 7))
    await world.until_total(tenant, 6 * BATCH)

    async def taken_again() -> bool:
        return (await world.send(tenant, world.event(tenant, "more"))).status_code == 204

    await eventually(taken_again, "the tenant's usage is taken again")
    await world.until_total(tenant, 6 * BATCH + 1)
    await world.until_total(other, 7)
    assert (taken, of_other.status_code) == ([204] * 6, 204)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["error"] == "too_much_waiting"


async def test_an_edge_that_brings_a_floods_usage_among_others_is_refused_once_the_others_is_durable(
    world: World, edge_key: ApiKey
) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    await world.say_key(edge_key, "edge", act_for=(tenant, other))
    mixed = [world.event(other, "1", 7), world.event(tenant, "more")]

    async def known() -> bool:
        return (await world.send(other, world.event(other, "0", 0), key=edge_key)).status_code == 204

    await eventually(known, "the edge's key is known")
    async with owners_at_rest(world):
        taken_before = (await fill(world, tenant)).count(204)
        refused = await world.send(tenant, *mixed, key=edge_key)
    await world.until_total(other, 7)
    assert refused.status_code == 429

    async def taken() -> bool:
        return (await world.send(tenant, *mixed, key=edge_key)).status_code == 204

    await eventually(taken, "the same request is taken")
    await world.until_total(tenant, taken_before * BATCH + 1)
    await world.until_all_is_counted()
    assert await world.total(other) == 7


async def test_over_grpc_whoever_floods_on_is_told_when_to_retry(world: World) -> None:
    tenant = await world.new_tenant()
    now_ns = microseconds(world.clock.now()) * 1000
    span = graphql_span(
        attributes={"maestro.tenant.id": tenant}, start_time_unix_nano=now_ns, end_time_unix_nano=now_ns
    )
    async with otlp_client(world.app.state.otlp_grpc_port) as client, owners_at_rest(world):
        await fill(world, tenant)
        answer = await client.export(export([span]), bearer(world.keys[tenant]))
    assert (answer.code, answer.retry_s) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 5)
    assert answer.text.startswith("too_much_waiting")


async def test_a_floods_backlog_holds_its_own_close_and_watermark_and_nobody_elses(
    settings: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    await broker.commit_for(GROUP, OVERFLOW, {number: Committed(0, uuid4()) for number in range(32)})
    one_event = settings.model_copy(update={"first_waiting_events": 1})
    start_metrics("metering")
    async with metering_world(one_event, broker, clock) as world:
        tenant, other = await world.new_tenant(), await world.new_tenant()
        while overflow_partition_of(other, 32) == overflow_partition_of(tenant, 32):
            other = await world.new_tenant()

        async def stands() -> bool:
            return exposed("maestro_metering_router_stopped", topic=OVERFLOW) == [1]

        await eventually(stands, "the forwarder stands still")
        await sent(world, tenant, 1)
        await world.send(other, world.event(other, "1", 7))
        await world.until_total(other, 7)
        clock.advance(timedelta(hours=1))
        await world.ask_close(world.close_of(tenant))
        await world.ask_close(world.close_of(other))
        [closed] = await world.until_closed(other)
        stood_at, moved_to = (await world.usage(tenant))["watermark_at"], (await world.usage(other))["watermark_at"]
        of_tenant, held, keys = await world.total(tenant), await world.heard(tenant), world.keys
    broker.expire(GROUP, "0")
    await broker.commit_for(GROUP, OVERFLOW, {number: Committed(0) for number in range(32)})
    async with metering_world(settings, broker, clock) as world:
        world.keys = keys
        [closed_later] = await world.until_closed(tenant)
    assert (int(of_tenant), len(held)) == (0, 0)
    assert closed.totals == {"ingest_events": 7}
    assert closed_later.totals == {"ingest_events": BATCH}
    assert moved_to == rfc3339(clock.now() - timedelta(seconds=5))
    assert stood_at is None or stood_at < rfc3339(clock.now() - timedelta(minutes=59))


async def test_a_record_that_cannot_be_read_is_set_aside_and_holds_up_nothing(world: World) -> None:
    tenant = await world.new_tenant()
    place = overflow_partition_of(tenant, 32)
    await world.write(OVERFLOW, b"no usage", partition=place)
    async with owners_at_rest(world):
        for lot in range(4):
            await sent(world, tenant, lot)
    await world.until_total(tenant, 4 * BATCH)
    [letter] = await world.dead_letters(OVERFLOW, at_least=1)
    assert (letter.value, letter.header("maestro_reason")) == (b"no usage", b"bad_shard_record")


async def test_without_fair_shares_nothing_is_diverted(
    settings: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    async with metering_world(settings.model_copy(update={"fair_share": False}), broker, clock) as world:
        tenant = await world.new_tenant()
        async with owners_at_rest(world):
            assert await fill(world, tenant) == [204] * 6
            assert await diverted(world) == 0
        await world.until_total(tenant, 6 * BATCH)


async def test_what_is_diverted_and_forwarded_is_shown(world: World) -> None:
    start_metrics("metering")
    tenant = await world.new_tenant()
    async with owners_at_rest(world):
        for lot in range(4):
            await sent(world, tenant, lot)

        async def waits() -> bool:
            return exposed("maestro_metering_waiting_events") == [2 * BATCH]

        await eventually(waits, "what waits is shown")
    await world.until_total(tenant, 4 * BATCH)

    async def nothing_waits() -> bool:
        shown = exposed("maestro_metering_overflow_events_total", step="forwarded", weight="1")
        return bool(shown) and exposed("maestro_metering_waiting_events") == [0]

    await eventually(nothing_waits, "nothing waits")
    assert len(exposed("maestro_bus_consumer_lag", consumer="metering.router.usage-overflow")) == 32
