"""A consumer without a store: at least once, and never past what was not made durable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer

from libs.bus.forwarder import Forwarder
from libs.bus.kafka import KafkaAccess
from libs.bus.ports import Bus
from libs.bus.records import Message, Record, TopicPartition
from libs.bus.subscription import OffsetLost, Subscription
from libs.runtime.errors import Unavailable
from libs.schemas.topics import TopicSpec
from tests.support.bus import Broker, fresh_name, kafka_broker, spec
from tests.support.conditions import eventually
from tests.support.consuming import at_work, dies


@dataclass
class Sink:
    """Where records are made durable. `away` times it is not there."""

    topic: str
    away: int = 0
    purpose: str = field(default_factory=lambda: fresh_name("forwarding"))
    taken: list[bytes | None] = field(default_factory=list)

    async def take(self, records: Sequence[Record]) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("the sink is away")
        self.taken += [record.value for record in records]

    def forwarder(self, bus: Bus) -> Forwarder:
        subscription = Subscription("quota", self.purpose, (self.topic,), "0", kept_in="broker")
        return Forwarder(bus, subscription, self.take)

    async def committed(self, bus: Bus, partition: int = 0) -> int | None:
        found = (await bus.committed(f"maestro.quota.{self.purpose}", self.topic)).get(partition)
        return None if found is None else found.next

    async def until_committed(self, bus: Bus, offset: int) -> None:
        async def reached() -> bool:
            return await self.committed(bus) == offset

        await eventually(reached, f"{offset} is committed", within_s=40)


async def publish(bus: Bus, topic: TopicSpec, *texts: bytes) -> None:
    await bus.publisher.publish([Message(topic.name, None, text, partition=0) for text in texts])


async def test_the_first_start_reads_from_the_logs_start_and_commits_behind_it(bus: Bus, topic: TopicSpec) -> None:
    sink = Sink(topic.name)
    await publish(bus, topic, b"one", b"two")

    async with at_work(sink.forwarder(bus).run()):
        await sink.until_committed(bus, 2)

    assert sink.taken == [b"one", b"two"]
    assert await sink.committed(bus, partition=3) == 0


async def test_a_restart_goes_on_where_was_committed(bus: Bus, topic: TopicSpec) -> None:
    sink = Sink(topic.name)
    await publish(bus, topic, b"one")
    async with at_work(sink.forwarder(bus).run()):
        await sink.until_committed(bus, 1)
    await publish(bus, topic, b"two")

    async with at_work(sink.forwarder(bus).run()):
        await sink.until_committed(bus, 2)

    assert sink.taken == [b"one", b"two"]


async def test_what_is_not_durable_comes_again_before_what_follows(bus: Bus, topic: TopicSpec) -> None:
    sink = Sink(topic.name, away=3)
    await publish(bus, topic, b"one", b"two")

    async with at_work(sink.forwarder(bus).run()):
        await sink.until_committed(bus, 2)

    assert sink.away == 0
    assert sink.taken == [b"one", b"two"]


async def test_what_is_committed_says_of_which_topic_and_when_the_last_record_came(bus: Bus, topic: TopicSpec) -> None:
    sink = Sink(topic.name)
    await publish(bus, topic, b"one")

    async with at_work(sink.forwarder(bus).run()):
        await sink.until_committed(bus, 1)

    mark = (await bus.committed(f"maestro.quota.{sink.purpose}", topic.name))[0]
    assert mark.topic_id == (await bus.topic_ids([topic.name]))[topic.name]
    assert (mark.appended_at_ms or 0) > 1_700_000_000_000


async def test_records_that_expired_unread_stop_it_and_name_the_verb(broker: Broker, topic: TopicSpec) -> None:
    sink = Sink(topic.name)
    await publish(broker.bus, topic, b"one", b"two", b"three")
    async with at_work(sink.forwarder(broker.bus).run()):
        await sink.until_committed(broker.bus, 3)
    await publish(broker.bus, topic, b"four", b"five")
    await broker.drop_before(TopicPartition(topic.name, 0), 4)

    async with at_work(sink.forwarder(broker.bus).run()) as (running,):
        text = await dies(running, OffsetLost)

    assert f"--consumer quota.{sink.purpose} --topic {topic.name} --partition 0" in text
    assert "--kept-in broker" in text
    assert sink.taken == [b"one", b"two", b"three"]


async def test_a_topic_made_again_under_it_stops_it(broker: Broker, topic: TopicSpec) -> None:
    sink = Sink(topic.name)
    await publish(broker.bus, topic, b"one", b"two")
    async with at_work(sink.forwarder(broker.bus).run()) as (running,):
        await sink.until_committed(broker.bus, 2)
        await broker.delete_topic(topic.name)
        await broker.bus.ensure_topics([topic])
        await publish(broker.bus, topic, b"a", b"b", b"c", b"d")

        await dies(running, OffsetLost)

    assert sink.taken == [b"one", b"two"]


async def test_what_transactions_leave_in_the_log_is_passed_too(kafka: KafkaAccess) -> None:
    async with kafka_broker(kafka) as broker:
        topic = spec(fresh_name("transactional"), partitions=1)
        await broker.bus.ensure_topics([topic])
        sink = Sink(topic.name)
        producer = AIOKafkaProducer(**kafka.client_settings(), transactional_id=fresh_name("transaction"))
        await producer.start()
        async with producer.transaction():
            await producer.send_and_wait(topic.name, b"one")
        await producer.begin_transaction()
        await producer.send_and_wait(topic.name, b"never said")
        await producer.abort_transaction()
        await producer.stop()
        end = (await broker.bus.end_offsets(topic.name))[0]

        async with at_work(sink.forwarder(broker.bus).run()):
            await sink.until_committed(broker.bus, end)

    assert end == 4
    assert sink.taken == [b"one"]
