"""Usage that others write to topics of their own: by the rules of an edge, once, and waited for by closes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from secrets import token_bytes

import pytest

from libs.access.keys import ApiKey, new_key
from libs.bus.memory import MemoryBus
from libs.bus.ports import Committed
from libs.runtime.clock import ManualClock
from libs.runtime.metrics import start_metrics
from libs.schemas.topics import registry, topic
from libs.schemas.values import rfc3339
from services.metering.settings import MeteringSettings
from tests.support.access import ENV
from tests.support.bus import spec
from tests.support.conditions import eventually
from tests.support.exposed import exposed
from tests.support.metering import exported
from tests.support.metering_world import Json, World, metering_world

EVENTS, SPANS = "usage-events", "otlp_spans"
BATCH = ("content-type", b"application/cloudevents-batch+json")
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def routing(bound: MeteringSettings, broker: MemoryBus, clock: ManualClock) -> AsyncIterator[World]:
    """Metering with both routers on, over a real database and a broker in memory."""
    async with metering_world(bound, broker, clock) as served:
        yield served


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def binary(event: Json) -> tuple[bytes, list[tuple[str, bytes]]]:
    headers = [(f"ce_{name}", str(value).encode()) for name, value in event.items() if name != "data"]
    return encoded(event["data"]), headers


async def test_what_comes_by_http_and_by_both_topics_counts_once(routing: World, edge_key: ApiKey) -> None:
    world, tenant = routing, await routing.admitted(edge_key)
    events = [world.event(tenant, str(number), 5) for number in range(4)]
    spans = exported(tenant, world.clock.now(), 1, 2, 3)
    await world.write(EVENTS, encoded(events), BATCH, partition=3)
    await world.write(EVENTS, encoded(events[0]), ("content-type", b"application/cloudevents+json"))
    value, headers = binary(events[1])
    await world.write(EVENTS, value, *headers)
    await world.write(SPANS, spans)
    assert (await world.send(tenant, *events)).status_code == 204
    sent = {"content": spans, "headers": {"content-type": "application/x-protobuf"}}
    assert (await world.post("/v1/traces", world.keys[tenant], **sent)).status_code == 200
    await world.until_routed(EVENTS)
    await world.until_routed(SPANS)
    await world.until_all_is_counted()
    assert await world.total(tenant) == 20
    assert await world.total(tenant, "gql_calls") == 3
    assert (await world.explain(tenant, "0"))["duplicate_count"] == 2
    assert await world.dead_letters(EVENTS) == []


async def test_what_cannot_be_taken_is_set_aside_as_it_came_beside_what_can(routing: World, edge_key: ApiKey) -> None:
    world, tenant = routing, await routing.admitted(edge_key)
    await world.write(EVENTS, b"\x00no json", ("traceparent", TRACE), partition=2)
    await world.write(EVENTS, encoded(world.event(tenant, "good", 5)), partition=2)
    await world.until_total(tenant, 5)
    await world.until_routed(EVENTS)
    [letter] = await world.dead_letters(EVENTS, 1)
    headers = dict(letter.headers)
    assert (letter.key, letter.value, headers["traceparent"]) == (b"any", b"\x00no json", TRACE)
    assert headers["maestro_reason"] == b"bad_body"
    assert (headers["maestro_cause"] or b"").startswith(b"the body is not JSON")
    assert (headers["maestro_topic"], headers["maestro_partition"], headers["maestro_offset"]) == (
        b"usage-events",
        b"2",
        b"0",
    )


async def test_of_a_batch_only_what_is_refused_is_told_and_the_rest_counts(routing: World, edge_key: ApiKey) -> None:
    world, tenant = routing, await routing.admitted(edge_key)
    old = rfc3339(world.clock.now() - timedelta(days=35))
    other = await world.new_tenant()
    batch = [
        world.event(tenant, "1", 5),
        world.event(other, "2", 5),
        world.event(tenant, "3", 5, time=old),
        world.event(tenant, "4", 7),
        world.event(tenant, "5", "NaN"),
    ]
    await world.write(EVENTS, encoded(batch), BATCH)
    await world.until_total(tenant, 12)
    await world.until_routed(EVENTS)
    [letter] = await world.dead_letters(EVENTS, 1)
    assert letter.header("maestro_reason") == b"several"
    assert (letter.header("maestro_cause") or b"").startswith(b"3 of 5 refused: wrong_tenant (event 2): ")
    assert await world.total(other) == 0


async def test_spans_of_a_tenant_that_the_edge_does_not_act_for_are_refused(routing: World, edge_key: ApiKey) -> None:
    world = routing
    await world.admitted(edge_key)
    other = await world.new_tenant()
    await world.write(SPANS, exported(other, world.clock.now(), 1))
    await world.until_routed(SPANS)
    [letter] = await world.dead_letters(SPANS, 1)
    assert letter.header("maestro_reason") == b"wrong_tenant"
    await world.until_all_is_counted()
    assert await world.total(other, "gql_calls") == 0


async def test_a_record_that_is_larger_than_its_topic_allows_stays_where_it_lies(
    bound: MeteringSettings, clock: ManualClock, edge_key: ApiKey
) -> None:
    broker, allowed = MemoryBus(clock), topic(EVENTS).max_record_bytes
    larger = spec(EVENTS, max_record_bytes=2 * allowed, dead_letter=False)  # somebody else made it, before we did
    await broker.ensure_topics([larger, *registry().values()])
    async with metering_world(bound, broker, clock) as world:
        await world.admitted(edge_key)
        await world.write(EVENTS, b"x" * (allowed + 1))
        await world.until_routed(EVENTS)
        [letter] = await world.dead_letters(EVENTS, 1)
    assert letter.value is None
    assert letter.header("maestro_payload") == b"reference"
    assert letter.header("maestro_offset") == b"0"


async def test_what_comes_before_the_key_is_known_waits_and_is_neither_lost_nor_set_aside(
    routing: World, edge_key: ApiKey
) -> None:
    world, tenant = routing, await routing.new_tenant()
    await world.write(EVENTS, encoded(world.event(tenant, "1", 5)))
    await world.ask_close(world.close_of(tenant))
    await _close_is_seen(world)
    await world.say_key(edge_key, "edge", act_for=(tenant,))
    [closed] = await world.until_closed(tenant)
    assert closed.totals == {"ingest_events": 5}
    assert await world.dead_letters(EVENTS) == []


async def test_a_revoked_key_stops_its_router_and_one_with_another_key_takes_over_what_waits(
    bound: MeteringSettings, broker: MemoryBus, clock: ManualClock, edge_key: ApiKey
) -> None:
    async with metering_world(bound, broker, clock) as world:
        tenant = await world.admitted(edge_key)
        await world.write(EVENTS, encoded(world.event(tenant, "1", 5)))
        await world.until_total(tenant, 5)
        await world.say_key(edge_key, "edge", act_for=(tenant,), revoked_at=clock.now())
        await _is_refused(world, edge_key)
        await world.write(EVENTS, encoded(world.event(tenant, "2", 7)))
        await world.send(tenant, world.event(tenant, "3", 1))
        await world.until_total(tenant, 6)
        held = (await broker.committed("maestro.metering.router.usage-events", EVENTS))[0].next
    other = new_key(ENV, token_bytes)
    rebound = bound.model_copy(update={"usage_events_key_id": other.key_id})
    async with metering_world(rebound, broker, clock) as second:
        second.keys |= world.keys
        await second.say_key(other, "edge", act_for=(tenant,))
        await second.until_total(tenant, 13)
        assert held == 1
        assert await second.dead_letters(EVENTS) == []


async def test_what_waits_for_a_key_is_shown_until_the_broker_drops_it_and_gone_once_it_is_routed(
    routing: World, clock: ManualClock, edge_key: ApiKey
) -> None:
    start_metrics("metering")
    world, tenant = routing, await routing.new_tenant()
    await world.write(EVENTS, encoded(world.event(tenant, "1", 5)), partition=3)
    await world.write(EVENTS, encoded(world.event(tenant, "2", 7)), partition=3)
    clock.advance(timedelta(hours=96))

    async def is_shown(lag: float, used: float, unusable: float) -> bool:
        of = {"consumer": "metering.router.usage-events", "topic": EVENTS}
        return (
            sum(exposed("maestro_bus_consumer_lag", **of)) == lag
            and exposed("maestro_bus_consumer_lag_age_seconds", **of) == [used * 192 * 3600]
            and exposed("maestro_bus_consumer_retention_used_ratio", **of) == [used]
            and exposed("maestro_metering_router_key_unusable", topic=EVENTS) == [unusable]
        )

    await eventually(lambda: is_shown(2, 0.5, 1), "half of the retention is used up")
    stood_at = exposed("maestro_bus_consumer_watermark_timestamp_seconds", consumer="metering.router.usage-events")
    assert stood_at == [(clock.now() - timedelta(hours=96)).timestamp()]
    await world.say_key(edge_key, "edge", act_for=(tenant,))
    await eventually(lambda: is_shown(0, 0, 0), "nothing waits")


@pytest.mark.usefixtures("world")
async def test_a_topic_that_is_bound_to_no_key_lacks_none() -> None:
    start_metrics("metering")

    async def is_shown() -> bool:
        shown = [exposed("maestro_metering_router_key_unusable", topic=topic) for topic in (EVENTS, SPANS)]
        routed = exposed("maestro_bus_consumer_lag", consumer="metering.router.usage-events")
        return shown == [[0], [0]] and not routed

    await eventually(is_shown, "no key is missed")


async def test_a_close_waits_for_what_lay_on_a_foreign_topic_when_it_was_asked_for(
    routing: World, edge_key: ApiKey
) -> None:
    world, tenant = routing, await routing.admitted(edge_key)
    for lot in range(10):
        await world.write(EVENTS, encoded([world.event(tenant, f"{lot}-{n}") for n in range(50)]), partition=lot % 8)
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    assert closed.totals == {"ingest_events": 500}


async def test_a_topic_that_is_bound_to_no_key_is_not_read_and_holds_up_no_close(
    world: World, edge_key: ApiKey
) -> None:
    tenant = await world.admitted(edge_key)
    await world.write(EVENTS, encoded(world.event(tenant, "1", 5)))
    await world.send(tenant, world.event(tenant, "2", 7))
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    assert closed.totals == {"ingest_events": 7}
    assert await world.bus.committed("maestro.metering.router.usage-events", EVENTS) == {}


async def test_the_watermark_stands_still_while_usage_waits_on_a_foreign_topic(
    routing: World, clock: ManualClock, edge_key: ApiKey
) -> None:
    world, tenant = routing, await routing.new_tenant()
    assert (await world.usage(tenant))["watermark_at"] == rfc3339(clock.now() - timedelta(seconds=5))
    await world.write(EVENTS, encoded(world.event(tenant, "1", 5)))
    clock.advance(timedelta(hours=1))
    stood_at = (await world.usage(tenant))["watermark_at"]
    await world.say_key(edge_key, "edge", act_for=(tenant,))
    await world.until_total(tenant, 5)

    async def moved() -> bool:
        found = await world.usage(tenant)
        return bool(found["watermark_at"] == rfc3339(clock.now() - timedelta(seconds=5)))

    await eventually(moved, "the watermark is now, less the skew")
    assert stood_at < rfc3339(clock.now() - timedelta(minutes=59))


async def test_a_router_that_stands_still_is_shown_and_leaves_the_edge_at_work(
    bound: MeteringSettings, broker: MemoryBus, clock: ManualClock, edge_key: ApiKey
) -> None:
    start_metrics("metering")
    await broker.commit_for("maestro.metering.router.usage-events", EVENTS, {0: Committed(999)})
    async with metering_world(bound, broker, clock) as world:

        async def shown() -> bool:
            return exposed("maestro_metering_router_stopped", topic=EVENTS) == [1]

        await eventually(shown, "the router of usage-events stands still")
        tenant = await world.admitted(edge_key)
        assert (await world.client.get("/readyz")).status_code == 200
        assert (await world.send(tenant, world.event(tenant, "1", 5))).status_code == 204
        await world.write(SPANS, exported(tenant, world.clock.now(), 1))
        await world.until_total(tenant, 5)
        await world.until_total(tenant, 1, "gql_calls")


async def test_routing_a_whole_topic_again_changes_nothing(
    bound: MeteringSettings, broker: MemoryBus, clock: ManualClock, edge_key: ApiKey
) -> None:
    group = "maestro.metering.router.usage-events"
    async with metering_world(bound, broker, clock) as world:
        tenant = await world.admitted(edge_key)
        for number in range(20):
            stamped = world.event(tenant, str(number), 5, time=None)
            await world.write(EVENTS, encoded(stamped), partition=number % 8)
        await world.until_total(tenant, 100)
        await world.until_routed(EVENTS)
        keys = world.keys
    broker.expire(group, "0")
    committed = await broker.committed(group, EVENTS)
    await broker.commit_for(group, EVENTS, {number: type(mark)(0) for number, mark in committed.items()})
    clock.advance(timedelta(minutes=30))
    async with metering_world(bound, broker, clock) as world:
        world.keys = keys
        await world.until_routed(EVENTS)
        await world.until_all_is_counted()
        total, explained = await world.total(tenant), await world.explain(tenant, "7")
        copies = await world.pool.fetchval("SELECT sum(copies) FROM usage_duplicate")
    assert total == 100
    assert copies == 20
    assert (explained["duplicate_count"], explained["conflicts"]) == (1, [])
    assert explained["time"] == rfc3339(clock.now() - timedelta(minutes=30))


async def _close_is_seen(world: World) -> None:
    async def seen() -> bool:
        return bool(await world.pool.fetchval("SELECT count(*) = 1 FROM close_request"))

    await eventually(seen, "the request is kept")


async def _is_refused(world: World, key: ApiKey) -> None:
    async def refused() -> bool:
        return (await world.get("/v1/usage", key)).status_code == 401

    await eventually(refused, "the key is known to be revoked")
