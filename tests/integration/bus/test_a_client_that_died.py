"""aiokafka's fetching may end by a fault of its own: a member notices it and comes back with a new client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from libs.bus.forwarder import Forwarder
from libs.bus.kafka import KafkaAccess
from libs.bus.kafka.subscriber import KafkaSubscriber
from libs.bus.ports import Bus
from libs.bus.records import Message, Record
from libs.bus.subscription import Subscription
from tests.support.bus import fresh_name, kafka_broker, spec
from tests.support.conditions import eventually
from tests.support.consuming import at_work


async def test_records_flow_again_after_the_clients_fetching_ended(
    kafka: KafkaAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[KafkaSubscriber] = []
    start = KafkaSubscriber.start

    async def noted(self: KafkaSubscriber) -> None:
        await start(self)
        started.append(self)

    monkeypatch.setattr(KafkaSubscriber, "start", noted)
    taken: list[bytes | None] = []

    async def take(records: Sequence[Record]) -> None:
        taken.extend(record.value for record in records)

    async def has(*values: bytes) -> bool:
        return taken == list(values)

    async def put(bus: Bus, topic: str, value: bytes) -> None:
        await bus.publisher.publish([Message(topic, None, value, partition=0)])

    async with kafka_broker(kafka) as broker:
        topic = spec(fresh_name("topic"))
        await broker.bus.ensure_topics([topic])
        subscription = Subscription("quota", fresh_name("dying"), (topic.name,), "0", kept_in="broker")
        async with at_work(Forwarder(broker.bus, subscription, take).run()):
            await put(broker.bus, topic.name, b"before")
            await eventually(lambda: has(b"before"), "what came before is forwarded")
            fetching: asyncio.Task[None] = started[0]._consumer._fetcher.error_future
            fetching.cancel()
            await put(broker.bus, topic.name, b"after")
            await eventually(lambda: has(b"before", b"after"), "what came after is forwarded")

    assert len(started) == 2
