"""How long an id is kept: the horizon from the event's time or from when it was seen, whichever is later."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from libs.bus.memory import MemoryBus
from libs.runtime.clock import ManualClock
from libs.schemas.values import TenantId, rfc3339
from services.metering.consumer import Forgetter
from services.metering.handlers.known_ids import KnownIds
from services.metering.handlers.reading import Reading
from services.metering.store.run_files import RunFiles
from tests.support.metering_world import World


@pytest.fixture
def forgetter(world: World, broker: MemoryBus, clock: ManualClock, tmp_path: Path) -> Forgetter:
    known = KnownIds(broker, world.pool, RunFiles(tmp_path))
    return Forgetter(Reading(broker, world.pool, clock), world.pool, [known])


async def send_back_dated(world: World) -> TenantId:
    """Send one event of 33 days ago, and wait until it is counted."""
    tenant = await world.new_tenant()
    long_ago = rfc3339(world.clock.now() - timedelta(days=33))
    assert (await world.send(tenant, world.event(tenant, "1", 5, time=long_ago))).status_code == 204
    await world.until_all_is_counted()
    return tenant


async def ids_kept(world: World) -> int:
    return int(await world.pool.fetchval("SELECT coalesce(sum(entries), 0) FROM usage_id_run WHERE state = 'live'"))


async def test_a_back_dated_event_is_known_beyond_its_own_age(
    world: World, clock: ManualClock, forgetter: Forgetter
) -> None:
    tenant = await send_back_dated(world)
    clock.step(timedelta(days=2, hours=2))
    await forgetter.turn()
    assert await ids_kept(world) == 1
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_all_is_counted()
    assert await world.pool.fetchval("SELECT sum(value) FROM usage_window") == 5
    assert await world.pool.fetchval("SELECT count(*) FROM usage_conflict") == 1


async def test_an_id_is_kept_for_the_horizon_and_then_forgotten(
    world: World, clock: ManualClock, forgetter: Forgetter
) -> None:
    await send_back_dated(world)
    clock.step(timedelta(days=35))
    await forgetter.turn()
    assert await ids_kept(world) == 1
    clock.step(timedelta(minutes=1))
    await forgetter.turn()
    assert await ids_kept(world) == 0
