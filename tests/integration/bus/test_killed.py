"""Real processes on the real broker, killed where effect and offset, or Kafka and outbox, could part."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import Headers
from libs.schemas.topics import registry
from libs.store.pool import Pool
from tests.support import bus_process
from tests.support.bus import bus_store, effects, kafka_broker, say_names
from tests.support.conditions import eventually
from tests.support.consuming import TENANTS, Tenants, at_work, effects_are, outbox_is_empty, relay_of

Start = Callable[..., subprocess.Popen[bytes]]
NAMES = ["one", "two", "three"]


@pytest.fixture
def dsn(fresh_database: Callable[..., str]) -> str:
    return fresh_database("killed")


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with bus_store(dsn) as opened:
        yield opened


@pytest.fixture
async def bus(kafka: KafkaAccess) -> AsyncIterator[KafkaBus]:
    async with kafka_broker(kafka) as broker:
        await broker.bus.ensure_topics(list(registry().values()))
        yield broker.bus


@pytest.fixture
def start(dsn: str, kafka: KafkaAccess) -> Iterator[Start]:
    """Start a process of a role; killed when the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def starting(role: str, *more: str, crash_at: str = "", marker: Path | None = None) -> subprocess.Popen[bytes]:
        started.append(bus_process.start(kafka, role, dsn, *more, crash_at=crash_at, marker=marker))
        return started[-1]

    yield starting
    for process in started:
        process.kill()
        process.wait()


async def is_killed(process: subprocess.Popen[bytes]) -> None:
    async def has_ended() -> bool:
        return process.poll() is not None

    await eventually(has_ended, "the process has come to its crash point", within_s=40)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("place", ["relay.sequenced", "relay.published"])
async def test_a_killed_relay_is_followed_by_one_that_neither_loses_nor_doubles(
    place: str, start: Start, bus: KafkaBus, pool: Pool, tmp_path: Path
) -> None:
    tenants = Tenants()
    await say_names(pool, *NAMES, key=tenants.key)
    await is_killed(start("relay", crash_at=place, marker=tmp_path / "crashed"))
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE seq IS NOT NULL") == len(NAMES)
    await say_names(pool, "after", key=tenants.key)

    start("relay")

    async with at_work(tenants.consumer(bus, pool).run()):
        await effects_are(pool, *NAMES, "after")
        await outbox_is_empty(pool)


async def test_a_relay_killed_after_publishing_publishes_the_same_bytes_again(
    start: Start, bus: KafkaBus, pool: Pool, tmp_path: Path
) -> None:
    tenants = Tenants()
    await say_names(pool, "once", key=tenants.key)
    await is_killed(start("relay", crash_at="relay.published", marker=tmp_path / "crashed"))

    start("relay")
    await outbox_is_empty(pool)

    first, second = await _records_of(bus, tenants.key.encode())
    assert first == second


async def _records_of(bus: KafkaBus, key: bytes) -> list[tuple[bytes | None, Headers]]:
    reader = bus.reader(TENANTS)
    ends = await reader.start()
    found: list[tuple[bytes | None, Headers]] = []
    positions: dict[int, int] = {}
    while any(positions.get(number, 0) < end for number, end in ends.items()):
        got = await reader.poll()
        positions = {source.partition: offset for source, offset in got.positions.items()}
        found += [(record.value, record.headers) for record in got.records if record.key == key]
    await reader.stop()
    return found


@pytest.mark.parametrize("place", ["consumer.effect", "consumer.committed"])
async def test_a_killed_consumer_comes_back_and_neither_loses_nor_doubles(
    place: str, start: Start, bus: KafkaBus, pool: Pool, tmp_path: Path
) -> None:
    tenants = Tenants()
    async with at_work(relay_of(pool, bus).run()):
        await say_names(pool, *NAMES, key=tenants.key)
        await outbox_is_empty(pool)
        await is_killed(start("consumer", tenants.key, tenants.purpose, crash_at=place, marker=tmp_path / "crashed"))
        await say_names(pool, "after", key=tenants.key)

        start("consumer", tenants.key, tenants.purpose)

        await effects_are(pool, *NAMES, "after")


async def test_a_frozen_consumer_that_wakes_after_its_successor_writes_nothing(
    start: Start, bus: KafkaBus, pool: Pool
) -> None:
    tenants = Tenants()
    async with at_work(relay_of(pool, bus).run()):
        frozen = start("consumer", tenants.key, tenants.purpose)
        await say_names(pool, "one", key=tenants.key)
        await effects_are(pool, "one")
        frozen.send_signal(signal.SIGSTOP)
        async with at_work(tenants.consumer(bus, pool).run()):
            await say_names(pool, "two", "three", key=tenants.key)
            await effects_are(pool, "one", "two", "three")
            frozen.send_signal(signal.SIGCONT)

            await _ends(frozen)

    assert await effects(pool) == ["one", "two", "three"]


async def _ends(process: subprocess.Popen[bytes]) -> None:
    async def has_ended() -> bool:
        return process.poll() is not None

    await eventually(has_ended, "the one that was replaced has stopped", within_s=40)
    assert process.returncode == 1
