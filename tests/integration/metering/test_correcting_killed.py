"""Metering is killed between the effect of a correction and its commit; `maestro usage void` waits for the answer."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.runtime.clock import SystemClock
from services.metering.cli import main
from services.metering.settings import MeteringSettings
from tests.support.archive import until_archived
from tests.support.dying import dying_at
from tests.support.kafka import KafkaOf, kafka_environment, kafka_settings
from tests.support.metering_world import World, metering_world

EVENTS = 20


@pytest.fixture
def actor_key(tmp_path: Path) -> Path:
    """What keys the pseudonym of who runs a command."""
    file = tmp_path / "actor.key"
    file.write_text("k" * 32)
    return file


async def test_a_kill_before_the_commit_leaves_the_correction_to_the_next_process(
    settings: MeteringSettings,
    kafka: KafkaAccess,
    kafka_of: KafkaOf,
    tmp_path: Path,
    actor_key: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archiving = settings.model_copy(
        update={"archive": True, "archive_dir": tmp_path / "archive", "archive_max_age_s": 0.2}
    )
    bus = KafkaBus(kafka, client_id="test")
    await bus.start()
    async with metering_world(archiving, KafkaBus(kafka_of("metering"), client_id="before")) as before:
        before.bus = bus
        tenant = await before.new_tenant()
        await before.send(tenant, *(before.event(tenant, str(number), 5) for number in range(EVENTS)))
        await before.until_total(tenant, 5 * EVENTS)
        await until_archived(bus, before.pool)
        dsn, keys, app = settings.postgres_url, before.keys, before.app
    told = {
        "MAESTRO_POSTGRES_URL": dsn,
        "MAESTRO_ARCHIVE": "true",
        "MAESTRO_ARCHIVE_DIR": str(tmp_path / "archive"),
        **kafka_environment(kafka_of("metering")),
    }
    operating = settings.model_copy(update={"actor_key_file": actor_key, **kafka_settings(kafka)})
    words = ["void", "test", "7", "--tenant", tenant, "--reason", "sent by mistake", "--wait", "60", "--json"]
    async with (
        dying_at("metering.correction_applied", "metering", told, tmp_path) as runner,
        httpx.AsyncClient(base_url=runner.address, trust_env=False) as client,
    ):
        code = await asyncio.to_thread(main, words, lambda _: operating)
        found = json.loads(capsys.readouterr().out)
        world = World(bus, client, before.pool, SystemClock(), app, keys=keys)
        await world.until_total(tenant, 5 * (EVENTS - 1))
    await bus.stop()
    assert runner.exits == [-signal.SIGKILL]
    assert (code, found["state"], found["reason"]) == (0, "applied", "sent by mistake")
    assert found["before"] == [{"metric": "ingest_events", "amount": "5", "resource": None}]
