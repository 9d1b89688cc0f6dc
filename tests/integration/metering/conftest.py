"""Metering on real servers: a database of its own, and the session's Kafka or a bus in memory, where time is set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes

import pytest

from libs.access.keys import ApiKey, new_key
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.memory import MemoryBus
from libs.runtime.clock import ManualClock
from services.metering.settings import MeteringSettings
from tests.support.access import ENV
from tests.support.bus import furnished_memory
from tests.support.kafka import KafkaOf
from tests.support.metering_world import World, metering_world

MID_MONTH = datetime(2026, 11, 24, 10, 7, tzinfo=UTC)


@pytest.fixture
def settings(fresh_database: Callable[..., str], tmp_path: Path) -> MeteringSettings:
    return MeteringSettings(postgres_url=fresh_database("metering"), state_dir=tmp_path)


@pytest.fixture
def edge_key() -> ApiKey:
    """The key that both foreign topics are bound to. Nobody knows it before a test has identity say it."""
    return new_key(ENV, token_bytes)


@pytest.fixture
def bound(settings: MeteringSettings, edge_key: ApiKey) -> MeteringSettings:
    return settings.model_copy(update={"usage_events_key_id": edge_key.key_id, "otlp_spans_key_id": edge_key.key_id})


@pytest.fixture
async def on_kafka(settings: MeteringSettings, kafka: KafkaAccess, kafka_of: KafkaOf) -> AsyncIterator[World]:
    """Metering over its real wiring; the test has a connection of its own, for the service closes its one."""
    connection = KafkaBus(kafka, client_id="test")
    await connection.start()
    async with metering_world(settings, KafkaBus(kafka_of("metering"), client_id="metering.0")) as served:
        served.bus = connection
        yield served
    await connection.stop()


@pytest.fixture
def clock() -> ManualClock:
    """Seven minutes past ten in the middle of a month."""
    return ManualClock(MID_MONTH)


@pytest.fixture
async def broker(clock: ManualClock) -> MemoryBus:
    """A broker in memory, whose append times are the clock's."""
    return await furnished_memory(clock)


@pytest.fixture
def archiving(settings: MeteringSettings, tmp_path: Path) -> MeteringSettings:
    """Settings with an archive whose lots end at once."""
    return settings.model_copy(update={"archive": True, "archive_dir": tmp_path / "archive", "archive_max_age_s": 0.05})


@pytest.fixture
async def archiving_world(archiving: MeteringSettings, broker: MemoryBus, clock: ManualClock) -> AsyncIterator[World]:
    """Like `world`, with an archive."""
    async with metering_world(archiving, broker, clock) as served:
        yield served


@pytest.fixture
async def world(settings: MeteringSettings, broker: MemoryBus, clock: ManualClock) -> AsyncIterator[World]:
    """Metering over a real database and a broker in memory."""
    async with metering_world(settings, broker, clock) as served:
        yield served
