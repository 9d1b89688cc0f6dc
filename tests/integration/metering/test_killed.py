"""Metering is killed where an effect and what is said of it could part: every unit is counted once all the same."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.runtime.clock import SystemClock
from libs.schemas.values import TenantId
from services.metering.settings import MeteringSettings
from tests.support.conditions import eventually
from tests.support.dying import Restarted, dying_at
from tests.support.kafka import KafkaOf, kafka_environment
from tests.support.metering_world import Json, World, metering_world

PLACES = [
    "metering.edge_durable",  # usage lies in Kafka, the sender has no answer and sends it again
    "consumer.effect",  # totals are written, not committed
    "consumer.committed",  # committed, and Kafka knows nothing of it
    "metering.windows_published",  # told, and not marked as told
    "metering.period_frozen",  # frozen and said, not committed
    "relay.published",  # the close is in Kafka, and the outbox still holds it
]
WITHIN_S = 60.0  # two starts of a process on a machine that is shared


async def taken(world: World, tenant: TenantId, lot: list[Json], runner: Restarted) -> None:
    """Send the events as a good sender does: again, until they are taken."""

    async def accepted() -> bool:
        try:
            return (await world.send(tenant, *lot)).status_code == 204
        except httpx.TransportError:
            return False

    await eventually(accepted, f"the events are taken, see {runner.log}", within_s=WITHIN_S, every_s=0.1)


@pytest.mark.parametrize("place", PLACES)
async def test_a_kill_loses_nothing_and_doubles_nothing(
    place: str, settings: MeteringSettings, kafka: KafkaAccess, kafka_of: KafkaOf, tmp_path: Path
) -> None:
    async with metering_world(settings, KafkaBus(kafka, client_id="before")) as before:
        tenant = await before.new_tenant()
        await before.until_all_is_counted()  # what other tests left: the process dies over our own
        pool_dsn, keys, app = settings.postgres_url, before.keys, before.app
    bus = KafkaBus(kafka, client_id="test")
    await bus.start()
    told = {"MAESTRO_POSTGRES_URL": pool_dsn, **kafka_environment(kafka_of("metering"))}
    async with (
        dying_at(place, "metering", told, tmp_path) as runner,
        httpx.AsyncClient(base_url=runner.address, trust_env=False) as client,
    ):
        world = World(bus, client, before.pool, SystemClock(), app, keys=keys)
        for number in range(10):
            lot = [world.event(tenant, f"{number}-{event}", 3) for event in range(20)]
            await taken(world, tenant, lot, runner)
        await world.ask_close(world.close_of(tenant))
        closed = await world.until_closed(tenant, within_s=WITHIN_S)
        windows = {(one.metric, one.window_start, one.store_epoch, one.seq, one.digest) for one in closed[0].windows}

        async def all_told() -> bool:
            heard = await world.windows_told(tenant)
            return windows <= {(one.metric, one.window_start, one.store_epoch, one.seq, one.digest) for one in heard}

        await eventually(all_told, f"what was frozen is told, see {runner.log}", within_s=WITHIN_S, every_s=0.2)
    await bus.stop()
    assert runner.exits == [-signal.SIGKILL]
    assert {one.close_id for one in closed} == {closed[0].close_id}
    assert closed[0].totals == {"ingest_events": 600}
