"""A flood far beyond what owners count, on real servers: others are counted in time, and it is counted to the unit."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.runtime.clock import SystemClock
from libs.schemas.values import TenantId
from services.metering.settings import MeteringSettings
from tests.support.conditions import eventually
from tests.support.dying import dying_at
from tests.support.kafka import KafkaOf, kafka_environment
from tests.support.metering_world import Json, World, metering_world
from tests.support.stores import as_owner

OVERFLOW = "usage-overflow"
PROMISE_S = 5.0
LOTS, LOT = 40, 100  # of the flood: eight seconds of what the owner below counts, sent at once
KILLED_WITHIN_S = 90.0  # two starts of a process on a machine that is shared

SLOWLY = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END';
CREATE TRIGGER slowly BEFORE INSERT ON gauge_sample FOR EACH ROW EXECUTE FUNCTION slowly();
"""


def flood_of(world: World, tenant: TenantId, lot: int) -> list[Json]:
    """Events that are counted, and are samples of a level too: the store takes two milliseconds for each."""
    data = {"maestro.ingest.events": 1, "maestro.storage.bytes": lot}
    return [world.event(tenant, f"{lot}-{number}", data=data) for number in range(LOT)]


async def flood(world: World, tenant: TenantId) -> None:
    """Send all of it as fast as edges take it, and wait until it is counted."""
    for few in range(0, LOTS, 10):  # fewer at once than one sender may have under way
        lots = [flood_of(world, tenant, lot) for lot in range(few, few + 10)]
        answers = await asyncio.gather(*(world.send(tenant, *lot) for lot in lots))
        assert {answer.status_code for answer in answers} == {204}
    await world.until_total(tenant, LOTS * LOT)


async def delay_s(world: World, tenant: TenantId, number: int) -> float:
    """Send one event; return after how many seconds it was in the total."""
    sent_at_s = time.monotonic()
    assert (await world.send(tenant, world.event(tenant, str(number)))).status_code == 204
    await world.until_total(tenant, number)
    return time.monotonic() - sent_at_s


@pytest.fixture
def settings(settings: MeteringSettings) -> MeteringSettings:
    return settings.model_copy(update={"first_waiting_events": 200})


async def test_a_flood_delays_nobody_elses_usage_and_every_event_of_it_is_counted_once(
    on_kafka: World, settings: MeteringSettings
) -> None:
    world = on_kafka
    tenant, other = await world.new_tenant(), await world.new_tenant()
    await world.until_all_is_counted()  # the topic holds what other tests left on it
    await as_owner(settings.postgres_url, SLOWLY)
    flooding = asyncio.create_task(flood(world, tenant))
    delays_s: list[float] = []
    while not flooding.done():
        delays_s.append(await delay_s(world, other, len(delays_s) + 1))
    await flooding
    await world.until_routed(OVERFLOW)
    await world.until_all_is_counted()
    samples = await world.pool.fetchval("SELECT count(*) FROM gauge_sample WHERE tenant_id = $1", tenant)
    assert max(delays_s) < PROMISE_S
    assert sum(delays_s) > PROMISE_S  # the flood lasted longer than others may have to wait
    assert (int(await world.total(tenant)), samples) == (LOTS * LOT, LOTS * LOT)


async def test_a_forwarder_that_is_killed_half_way_loses_nothing_and_doubles_nothing(
    settings: MeteringSettings, kafka: KafkaAccess, kafka_of: KafkaOf, tmp_path: Path
) -> None:
    async with metering_world(settings, KafkaBus(kafka, client_id="before")) as before:
        tenant = await before.new_tenant()
        await before.until_routed(OVERFLOW)
        await before.until_all_is_counted()  # what other tests left: the process dies over our own
    bus = KafkaBus(kafka, client_id="test")
    await bus.start()
    told = {
        "MAESTRO_POSTGRES_URL": settings.postgres_url,
        "MAESTRO_FIRST_WAITING_EVENTS": "200",
        **kafka_environment(kafka_of("metering")),
    }
    async with (
        dying_at("metering.overflow_forwarded", "metering", told, tmp_path) as runner,
        httpx.AsyncClient(base_url=runner.address, trust_env=False) as client,
    ):
        world = World(bus, client, before.pool, SystemClock(), before.app, keys=before.keys)
        lots = [[world.event(tenant, f"{lot}-{number}") for number in range(LOT)] for lot in range(LOTS)]

        async def taken(lot: list[Json]) -> bool:
            try:
                return (await world.send(tenant, *lot)).status_code == 204
            except httpx.TransportError:
                return False

        async def all_taken() -> bool:
            return all(await asyncio.gather(*map(taken, lots)))

        await eventually(all_taken, f"the flood is taken, see {runner.log}", within_s=KILLED_WITHIN_S, every_s=0.2)

        async def died() -> bool:
            return runner.exits == [-signal.SIGKILL]

        await eventually(died, f"the forwarder was killed, see {runner.log}", within_s=KILLED_WITHIN_S, every_s=0.1)
        await world.ask_close(world.close_of(tenant))
        [closed] = await world.until_closed(tenant, within_s=KILLED_WITHIN_S)
    await bus.stop()
    assert closed.totals == {"ingest_events": LOTS * LOT}
