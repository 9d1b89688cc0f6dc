"""What happens at once: closes against batches, a second owner against the first, two routers."""

from __future__ import annotations

import asyncio
import json

from libs.access.keys import ApiKey
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.schemas.values import TenantId, rfc3339
from services.metering.settings import MeteringSettings
from tests.support.conditions import eventually
from tests.support.kafka import KafkaOf
from tests.support.metering import exported
from tests.support.metering_world import Json, World, metering_world

LOTS, LOT = 40, 25


async def send_lots(world: World, tenant: TenantId, time: str) -> None:
    """Send LOTS requests, one after the other, of LOT events each: the same ones for the same time."""
    for number in range(LOTS):
        lot = [world.event(tenant, f"{number}-{event}", time=time) for event in range(LOT)]
        assert (await world.send(tenant, *lot)).status_code == 204


async def sum_of(world: World, table: str, tenant: TenantId) -> int:
    return int(await world.pool.fetchval(f"SELECT coalesce(sum(value), 0) FROM {table} WHERE tenant_id = $1", tenant))  # noqa: S608


async def copies_seen(world: World) -> int:
    return int(await world.pool.fetchval("SELECT coalesce(sum(copies), 0) FROM usage_duplicate"))


async def send_until(world: World, tenant: TenantId, time: str, done: asyncio.Event) -> int:
    """Send lot after lot until `done`, and one more; return how many events that was."""
    sent, last = 0, False
    while not last:
        last = done.is_set()
        lot = [world.event(tenant, f"{sent}-{event}", time=time) for event in range(LOT)]
        assert (await world.send(tenant, *lot)).status_code == 204
        sent += LOT
    return sent


async def test_a_close_amid_usage_splits_it_into_frozen_and_adjusted_without_loss(on_kafka: World) -> None:
    world = on_kafka
    tenant, frozen_for_all = await world.new_tenant(), asyncio.Event()
    sending = asyncio.create_task(send_until(world, tenant, rfc3339(world.clock.now()), frozen_for_all))

    async def some_counted() -> bool:
        return await world.total(tenant) >= LOT

    await eventually(some_counted, "some usage is counted")
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    frozen_for_all.set()
    sent = await sending
    await world.until_all_is_counted()
    frozen, adjusted = await sum_of(world, "usage_window", tenant), await sum_of(world, "usage_adjustment", tenant)
    assert frozen == closed.totals["ingest_events"]
    assert adjusted >= LOT
    assert frozen + adjusted == sent


async def test_a_second_owner_that_comes_and_goes_loses_and_doubles_nothing(
    on_kafka: World, settings: MeteringSettings, kafka_of: KafkaOf
) -> None:
    world = on_kafka
    tenant, time = await world.new_tenant(), rfc3339(world.clock.now())
    await world.until_all_is_counted()  # the topic holds what other tests left on it
    copies_before = await copies_seen(world)
    sending = asyncio.create_task(send_lots(world, tenant, time))
    second = settings.model_copy(update={"instance": "1"})
    async with metering_world(second, KafkaBus(kafka_of("metering"), client_id="metering.1")) as other:
        owners = await other.pool.fetchval(
            "SELECT count(DISTINCT split_part(instance, '.', 1)) FROM consumer_offset WHERE consumer = $1",
            "metering.shards",
        )
        await send_lots(world, tenant, time)  # every event once more, while partitions move
        await sending
        await other.until_all_is_counted()
    assert owners == 2
    assert await world.total(tenant) == LOTS * LOT
    assert await copies_seen(world) - copies_before == LOTS * LOT


async def route_lots(world: World, lots: list[list[Json]]) -> None:
    """Write a record for each lot to usage-events, over all its partitions."""
    for number, lot in enumerate(lots):
        await world.write("usage-events", json.dumps(lot).encode(), partition=number % 8)


async def test_two_processes_and_three_ways_count_every_event_once(
    bound: MeteringSettings, edge_key: ApiKey, kafka: KafkaAccess, kafka_of: KafkaOf
) -> None:
    connection = KafkaBus(kafka, client_id="test")
    await connection.start()
    async with metering_world(bound, KafkaBus(kafka_of("metering"), client_id="metering.0")) as world:
        world.bus = connection
        tenant = await world.admitted(edge_key)
        time, spans = rfc3339(world.clock.now()), exported(tenant, world.clock.now(), *range(1, LOTS + 1))
        lots = [[world.event(tenant, f"{lot}-{one}", time=time) for one in range(LOT)] for lot in range(LOTS)]
        writing = asyncio.create_task(route_lots(world, lots))
        second = bound.model_copy(update={"instance": "1"})
        async with metering_world(second, KafkaBus(kafka_of("metering"), client_id="metering.1")):
            await route_lots(world, lots)  # every event once more, while partitions move
            await world.write("otlp_spans", spans)
            for lot in lots:
                assert (await world.send(tenant, *lot)).status_code == 204
            sent = {"content": spans, "headers": {"content-type": "application/x-protobuf"}}
            assert (await world.post("/v1/traces", world.keys[tenant], **sent)).status_code == 200
            await writing
            await world.until_routed("usage-events")
            await world.until_routed("otlp_spans")
            await world.until_all_is_counted()
        total, calls = await world.total(tenant), await world.total(tenant, "gql_calls")
        conflicts = await world.pool.fetchval("SELECT count(*) FROM usage_conflict WHERE tenant_id = $1", tenant)
    await connection.stop()
    assert (int(total), int(calls)) == (LOTS * LOT, LOTS)
    assert conflicts == 0
