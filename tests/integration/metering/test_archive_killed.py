"""The archiver is killed at each place where files, offsets and manifest could part: every record is there once."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.runtime.clock import SystemClock
from libs.schemas.values import TenantId, microseconds
from libs.store.pool import open_pool
from libs.store.roles import Role
from services.metering.domain.comparing import Verdict
from services.metering.domain.gauges import Span
from services.metering.handlers.recomputing import Asked, Recomputation
from services.metering.settings import MeteringSettings
from services.metering.store.archive.folder import ArchiveFolder
from tests.support.archive import ask, spots, until_archived
from tests.support.conditions import eventually
from tests.support.dying import dying_at
from tests.support.kafka import KafkaOf, kafka_environment
from tests.support.metering import default_meters
from tests.support.metering_world import Json, World, metering_world

PLACES = [
    "metering.archive_file_staged",  # one file of the lot lies in staging, others are not written
    "metering.archive_staged",  # all lie there, nothing is committed
    "metering.archive_recorded",  # offsets and manifest are written, not committed
    "metering.archive_committed",  # committed, nothing is published
    "metering.archive_file_published",  # one file is published, others are not
]
WITHIN_S = 120.0  # six starts of a process on a machine that is shared
DAYS_US = 3 * 86_400_000_000


def taken(world: World, tenant: TenantId, lot: list[Json]) -> Callable[[], Awaitable[bool]]:
    async def accepted() -> bool:
        try:
            return (await world.send(tenant, *lot)).status_code == 204
        except httpx.TransportError:
            return False

    return accepted


async def test_kills_at_every_place_lose_nothing_and_double_nothing(
    settings: MeteringSettings, kafka: KafkaAccess, kafka_of: KafkaOf, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    async with metering_world(settings, KafkaBus(kafka, client_id="before")) as before:
        tenants = [await before.new_tenant() for _ in range(3)]
        await before.until_all_is_counted()
        keys, app = before.keys, before.app
    bus = KafkaBus(kafka, client_id="test")
    await bus.start()
    told = {
        "MAESTRO_POSTGRES_URL": settings.postgres_url,
        "MAESTRO_ARCHIVE": "true",
        "MAESTRO_ARCHIVE_DIR": str(folder),
        "MAESTRO_ARCHIVE_MAX_AGE_S": "0.2",
        **kafka_environment(kafka_of("metering")),
    }
    async with (
        dying_at(",".join(PLACES), "metering", told, tmp_path) as runner,
        httpx.AsyncClient(base_url=runner.address, trust_env=False) as client,
        await open_pool(settings, Role.WORKER, name="test") as pool,
    ):
        world = World(bus, client, pool, SystemClock(), app, keys=keys)
        number = 0

        async def all_died() -> bool:
            """Send, as a good sender does, until each place was met."""
            nonlocal number
            for tenant in tenants:
                lot = [world.event(tenant, f"{number}-{event}", 3) for event in range(10)]
                await eventually(taken(world, tenant, lot), f"taken, see {runner.log}", within_s=WITHIN_S, every_s=0.1)
            number += 1
            return len(runner.exits) == len(PLACES)

        await eventually(all_died, f"it died everywhere, see {runner.log}", within_s=WITHIN_S, every_s=0.1)
        await world.until_all_is_counted()
        await until_archived(bus, pool, within_s=WITHIN_S)
        by = Recomputation(bus, pool, ArchiveFolder(folder), default_meters(), SystemClock())
        now_us = microseconds(SystemClock().now())
        within = Span(now_us - now_us % 900_000_000 - DAYS_US, now_us + DAYS_US)
        found = [await by.run(Asked(tenant, ("ingest_events",), within)) for tenant in tenants]
    await bus.stop()
    assert runner.exits == [-signal.SIGKILL] * len(PLACES)
    lying = spots(folder)
    assert len(lying) == len(set(lying))
    for tenant, one in zip(tenants, found, strict=True):
        assert {window.verdict for window in one.windows} == {Verdict.AGREES}
        assert sum(window.live for window in one.windows) == number * 30
        assert ask(folder, "count(DISTINCT event_id)", f"tenant = '{tenant}'") == [(number * 10,)]
