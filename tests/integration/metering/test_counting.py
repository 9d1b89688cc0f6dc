"""From HTTP through Kafka into totals: everything counts once, exactly, for whom it may."""

from __future__ import annotations

import gzip
from decimal import Decimal

import httpx
import pytest

from libs.bus.records import Message, Record
from libs.schemas.events import WindowTotalled
from services.metering.settings import MeteringSettings
from tests.support.conditions import eventually
from tests.support.metering import export, graphql_span
from tests.support.metering_world import World
from tests.support.stores import as_owner

PROTOBUF = {"content-type": "application/x-protobuf"}


def spans_of(world: World, tenant: str, *numbers: int, **attributes: object) -> bytes:
    now_ns = int(world.clock.now().timestamp()) * 10**9
    named = {"maestro.tenant.id": tenant} | attributes
    times = {"start_time_unix_nano": now_ns - 10**9, "end_time_unix_nano": now_ns}
    return export([graphql_span(number, attributes=named, **times) for number in numbers]).SerializeToString()


async def test_a_request_sent_twice_counts_once(on_kafka: World) -> None:
    world = on_kafka
    tenant = await world.new_tenant()
    events = [world.event(tenant, str(number), 2) for number in range(50)]
    assert (await world.send(tenant, *events)).status_code == 204
    assert (await world.send(tenant, *events)).status_code == 204
    await world.until_all_is_counted()
    await world.until_total(tenant, 100)
    assert (await world.explain(tenant, "7"))["duplicate_count"] == 1


async def test_a_record_delivered_twice_counts_once_even_through_another_partition(on_kafka: World) -> None:
    world = on_kafka
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    reader = world.bus.reader("usage-shards")
    await reader.start()
    records: list[Record] = []
    while not records:
        records = [one for one in (await reader.poll()).records if one.value and tenant.encode() in one.value]
    await reader.stop()
    [mine] = records
    elsewhere = (mine.partition + 1) % await world.bus.partitions("usage-shards")
    copies = [Message("usage-shards", mine.key, mine.value, (), where) for where in (mine.partition, elsewhere)]
    await world.bus.publisher.publish(copies)
    await world.until_all_is_counted()
    assert await world.total(tenant) == 5
    assert (await world.explain(tenant, "1"))["duplicate_count"] == 2


async def test_the_same_id_with_another_body_is_listed_and_not_counted(world: World) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    await world.send(tenant, world.event(tenant, "1", 7))
    await world.until_all_is_counted()
    assert await world.total(tenant) == 5
    found = await world.explain(tenant, "1")
    assert found["status"] == "counted"
    assert [(one["type"], one["count"]) for one in found["conflicts"]] == [("ingest", 1)]


@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        (["9007199254740993"], "9007199254740993"),
        (["0.1"] * 1000, "100"),
        (["0.000000000001", "9007199254740993"], "9007199254740993.000000000001"),
    ],
)
async def test_numbers_come_out_as_they_went_in(world: World, amounts: list[str], total: str) -> None:
    tenant = await world.new_tenant()
    events = [world.event(tenant, str(number), amount) for number, amount in enumerate(amounts)]
    await world.send(tenant, *events)
    await world.until_total(tenant, total)
    told = await world.until_told(tenant, "ingest_events", total)
    assert isinstance(told, WindowTotalled)
    rolled_up = await world.pool.fetchval("SELECT sum(value) FROM usage_rollup WHERE tenant_id = $1", tenant)
    assert rolled_up == told.value == Decimal(total)


async def test_json_numbers_lose_no_digit(world: World) -> None:
    tenant = await world.new_tenant()
    body = httpx.Request("POST", "http://x", json=[world.event(tenant, "1", "NUMBER")]).content
    exact = body.replace(b'"NUMBER"', b"9007199254740993.1")
    headers = {"content-type": "application/cloudevents-batch+json"}
    await world.post("/api/v1/events", world.keys[tenant], content=exact, headers=headers)
    await world.until_total(tenant, "9007199254740993.1")


async def test_spans_of_a_gateway_count_for_the_tenants_that_it_may_name(on_kafka: World) -> None:
    world = on_kafka
    tenant, other = await world.new_tenant(), await world.new_tenant()
    gateway = await world.new_key("edge", act_for=(tenant,))
    body = spans_of(world, tenant, 1, 2, 3)
    answer = await world.post(
        "/v1/traces", gateway, content=gzip.compress(body), headers=PROTOBUF | {"content-encoding": "gzip"}
    )
    assert (answer.status_code, answer.content) == (200, b"")
    refused = await world.post("/v1/traces", gateway, content=spans_of(world, other, 4), headers=PROTOBUF)
    assert b"wrong_tenant" in refused.content
    await world.until_total(tenant, 3, "gql_calls")
    assert await world.total(other, "gql_calls") == 0


async def test_nothing_is_counted_from_both_spans_and_events(world: World) -> None:
    tenant = await world.new_tenant()
    await world.post("/v1/traces", world.keys[tenant], content=spans_of(world, tenant, 1), headers=PROTOBUF)
    data = {"graphql.operation.type": "query", "maestro.ingest.events": 4}
    await world.send(tenant, world.event(tenant, "1", data=data))
    await world.until_total(tenant, 1, "gql_calls")
    await world.until_total(tenant, 4, "ingest_events")


async def test_an_event_that_a_meter_cannot_take_counts_for_the_others_and_says_so(world: World) -> None:
    tenant = await world.new_tenant()
    body = spans_of(world, tenant, 1, **{"maestro.ingest.events": "NaN"})
    await world.post("/v1/traces", world.keys[tenant], content=body, headers=PROTOBUF)
    await world.until_total(tenant, 1, "gql_calls")
    found = await world.explain(tenant, f"{1:032x}{1:016x}", "otel%2Fgateway")
    assert [(one["metric"], one["reason"]) for one in found["failures"]] == [("ingest_events", "bad_number")]


async def test_a_record_that_no_edge_wrote_is_set_aside_and_stops_nothing(on_kafka: World) -> None:
    world = on_kafka
    tenant = await world.new_tenant()
    await world.bus.publisher.publish([Message("usage-shards", b"0", b"garbage", (), 0)])
    await world.send(tenant, *(world.event(tenant, str(number)) for number in range(20)))
    await world.until_total(tenant, 20)

    async def set_aside() -> bool:
        ends = await world.bus.end_offsets("usage-shards-dlq")
        return sum(ends.values()) > 0

    await eventually(set_aside, "the record is in the dead letter topic")


async def test_the_same_window_is_told_with_a_growing_sequence(on_kafka: World) -> None:
    world = on_kafka
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 1))
    first = await world.until_told(tenant, "ingest_events", 1)
    await world.send(tenant, world.event(tenant, "2", 1, time=first.window_start.isoformat()))
    second = await world.until_told(tenant, "ingest_events", 2)
    assert second.window_start == first.window_start
    assert (second.store_epoch, second.seq) > (first.store_epoch, first.seq)


async def test_a_raised_store_epoch_has_open_windows_told_again(world: World, settings: MeteringSettings) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 1))
    first = await world.until_told(tenant, "ingest_events", 1)
    await as_owner(settings.postgres_url, "UPDATE store_epoch SET epoch = epoch + 1, reason = 'test'")

    async def told_again() -> bool:
        return any(one.store_epoch > first.store_epoch for one in await world.windows_told(tenant))

    await eventually(told_again, "the window is told under the new epoch", every_s=0.2)
