"""Consumers, relays and tables on a real PostgreSQL; on both brokers where the broker matters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from libs.bus.memory import MemoryBus
from libs.bus.ports import Bus
from libs.schemas.topics import registry
from libs.store.pool import Pool
from tests.support.bus import Broker, bus_store, kafka_broker, memory_broker


@pytest.fixture
def actor_key(tmp_path: Path) -> Path:
    """What keys the pseudonym of who runs a command."""
    file = tmp_path / "actor.key"
    file.write_text("k" * 32)
    return file


@pytest.fixture
def dsn(fresh_database: Callable[..., str]) -> str:
    return fresh_database("bus")


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with bus_store(dsn) as opened:
        yield opened


@pytest.fixture(params=["memory", "kafka"], ids=["memory", "kafka"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """A parameter other than `memory` is the fixture that gives access to the real broker."""
    opened = memory_broker() if request.param == "memory" else kafka_broker(request.getfixturevalue(request.param))
    async with opened as found:
        await found.bus.ensure_topics(list(registry().values()))
        yield found


@pytest.fixture
def bus(broker: Broker) -> Bus:
    return broker.bus


@pytest.fixture
async def memory() -> AsyncIterator[MemoryBus]:
    """The broker in memory alone, for what has nothing to do with Kafka."""
    async with memory_broker() as found:
        await found.bus.ensure_topics(list(registry().values()))
        yield found.bus
