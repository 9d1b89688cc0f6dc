"""The router is killed between what it made durable and its offset: every unit is counted once all the same."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx

from libs.access.keys import ApiKey
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import Record
from libs.runtime.clock import SystemClock
from services.metering.settings import MeteringSettings
from tests.support.conditions import eventually
from tests.support.dying import dying_at
from tests.support.kafka import KafkaOf, kafka_environment
from tests.support.metering import exported
from tests.support.metering_world import World, metering_world

EVENTS, SPANS = "usage-events", "otlp_spans"
LOTS, LOT, SPANS_SENT = 40, 25, 100
WITHIN_S = 60.0  # two starts of a process on a machine that is shared


async def test_a_kill_between_usage_and_offset_loses_nothing_and_doubles_nothing(
    bound: MeteringSettings, edge_key: ApiKey, kafka: KafkaAccess, kafka_of: KafkaOf, tmp_path: Path
) -> None:
    poison = f"no event of {edge_key.key_id}".encode()
    async with metering_world(bound, KafkaBus(kafka, client_id="before")) as before:
        tenant = await before.admitted(edge_key)
        await before.until_routed(EVENTS)
        await before.until_routed(SPANS)
        await before.until_all_is_counted()  # what other tests left: the process dies over our own
    bus = KafkaBus(kafka, client_id="test")
    await bus.start()
    told = {
        "MAESTRO_POSTGRES_URL": bound.postgres_url,
        **kafka_environment(kafka_of("metering")),
        "MAESTRO_USAGE_EVENTS_KEY_ID": edge_key.key_id,
        "MAESTRO_OTLP_SPANS_KEY_ID": edge_key.key_id,
    }
    async with (
        dying_at("metering.routed", "metering", told, tmp_path) as runner,
        httpx.AsyncClient(base_url=runner.address, trust_env=False) as client,
    ):
        world = World(bus, client, before.pool, SystemClock(), before.app, keys=before.keys)
        for number in range(LOTS):
            lot = [world.event(tenant, f"{number}-{event}") for event in range(LOT)]
            await world.write(EVENTS, json.dumps(lot).encode(), partition=number % 8)
        await world.write(EVENTS, poison)
        await world.write(SPANS, exported(tenant, world.clock.now(), *range(1, SPANS_SENT + 1)))
        await world.ask_close(world.close_of(tenant))
        closed = await world.until_closed(tenant, within_s=WITHIN_S)
        letters: list[Record] = []

        async def set_aside() -> bool:
            letters[:] = [one for one in await world.dead_letters(EVENTS) if one.value == poison]
            return bool(letters)

        await eventually(set_aside, f"the poison is set aside, see {runner.log}", within_s=WITHIN_S, every_s=0.2)
    await bus.stop()
    assert runner.exits == [-signal.SIGKILL]
    assert closed[0].totals == {"ingest_events": LOTS * LOT, "gql_calls": SPANS_SENT}
    assert len({one.header("maestro_offset") for one in letters}) == 1
