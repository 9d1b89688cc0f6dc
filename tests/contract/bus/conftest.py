"""The same tests on the real broker and on the one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.bus.ports import Bus
from libs.schemas.topics import TopicSpec
from tests.support.bus import Broker, fresh_name, kafka_broker, memory_broker, spec


@pytest.fixture(params=["memory", "kafka"], ids=["memory", "kafka"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """A parameter other than `memory` is the fixture that gives access to the real broker."""
    opened = memory_broker() if request.param == "memory" else kafka_broker(request.getfixturevalue(request.param))
    async with opened as found:
        yield found


@pytest.fixture
def bus(broker: Broker) -> Bus:
    return broker.bus


@pytest.fixture
async def topic(bus: Bus) -> TopicSpec:
    """A topic with four partitions, empty."""
    made = spec(fresh_name("topic"))
    await bus.ensure_topics([made])
    return made
