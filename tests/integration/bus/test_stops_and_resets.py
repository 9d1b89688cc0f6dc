from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.bus.cli import main
from libs.bus.kafka import KafkaAccess, access_of
from libs.bus.operator import BadReset, Step, Target, reset_committed, reset_offset
from libs.bus.ports import Bus, Committed
from libs.bus.records import Message, TopicPartition
from libs.bus.subscription import OffsetLost
from libs.runtime.acts import Act
from libs.runtime.settings import ServiceSettings
from libs.schemas.topics import topic
from libs.store.pool import Pool
from tests.support.bus import Broker, bus_store, effects, kafka_broker, recorded
from tests.support.consuming import Values, at_work, dies, effects_are
from tests.support.kafka import kafka_settings

TOPIC = "close-requests"  # no other test of the bus reads it, so it may be deleted
WHY = Act("a test", "req-1", "why")
FIRST = TopicPartition(TOPIC, 0)


async def publish(bus: Bus, values: Values, *texts: bytes) -> None:
    await bus.publisher.publish([Message(TOPIC, values.key, text, partition=0) for text in texts])


async def reset(pool: Pool, bus: Bus, values: Values, to: Target, partition: int = 0) -> None:
    await reset_offset(pool, bus, Step(f"quota.{values.purpose}", TOPIC, partition, to, WHY))


async def consume(bus: Bus, pool: Pool, values: Values, *expected: str) -> None:
    async with at_work(values.consumer(bus, pool, TOPIC).run()):
        await effects_are(pool, *expected)


async def stops(bus: Bus, pool: Pool, values: Values) -> str:
    async with at_work(values.consumer(bus, pool, TOPIC).run()) as (running,):
        return await dies(running, OffsetLost)


async def test_a_topic_made_again_stops_the_consumer_and_names_the_verb(broker: Broker, pool: Pool) -> None:
    values = Values()
    await publish(broker.bus, values, b"one")
    await consume(broker.bus, pool, values, "one")
    await broker.delete_topic(TOPIC)
    await broker.bus.ensure_topics([topic(TOPIC)])
    await publish(broker.bus, values, b"another one")

    text = await stops(broker.bus, pool, values)

    assert "was deleted and made again" in text
    assert f"maestro bus reset-offset --service quota --consumer quota.{values.purpose} --topic {TOPIC}" in text
    assert '--to earliest|latest|N --reason "..."`' in text
    assert await effects(pool) == ["one"]


async def test_a_topic_made_again_under_a_running_consumer_stops_it(broker: Broker, pool: Pool) -> None:
    values = Values()
    await publish(broker.bus, values, b"one", b"two")
    async with at_work(values.consumer(broker.bus, pool, TOPIC).run()) as (running,):
        await effects_are(pool, "one", "two")
        await broker.delete_topic(TOPIC)
        await broker.bus.ensure_topics([topic(TOPIC)])
        await publish(broker.bus, values, b"a", b"b", b"c", b"d")

        await dies(running, OffsetLost)

    assert await effects(pool) == ["one", "two"]


async def test_records_that_expired_unread_stop_the_consumer(broker: Broker, pool: Pool) -> None:
    values = Values()
    await publish(broker.bus, values, b"one")
    await consume(broker.bus, pool, values, "one")
    await publish(broker.bus, values, b"two", b"three")
    end = (await broker.bus.end_offsets(TOPIC))[0]
    await broker.drop_before(FIRST, end - 1)

    text = await stops(broker.bus, pool, values)

    assert f"the log holds [{end - 1}, {end})" in text
    assert await effects(pool) == ["one"]


async def test_after_a_reset_the_consumer_goes_on_from_there(broker: Broker, pool: Pool) -> None:
    values = Values()
    await publish(broker.bus, values, b"one")
    await consume(broker.bus, pool, values, "one")
    await publish(broker.bus, values, b"two", b"three")
    await broker.drop_before(FIRST, (await broker.bus.end_offsets(TOPIC))[0] - 1)

    await reset(pool, broker.bus, values, "earliest")

    await consume(broker.bus, pool, values, "one", "three")


async def test_a_reset_of_every_partition_lets_a_consumer_of_a_topic_made_again_go_on(
    broker: Broker, pool: Pool
) -> None:
    values = Values()
    await publish(broker.bus, values, b"one")
    await consume(broker.bus, pool, values, "one")
    await broker.delete_topic(TOPIC)
    await broker.bus.ensure_topics([topic(TOPIC)])
    await publish(broker.bus, values, b"skipped")
    for number in range(await broker.bus.partitions(TOPIC)):
        await reset(pool, broker.bus, values, "latest", number)
    await publish(broker.bus, values, b"two")

    await consume(broker.bus, pool, values, "one", "two")


async def test_a_reset_moves_a_running_consumer(broker: Broker, pool: Pool) -> None:
    values = Values()
    await publish(broker.bus, values, b"one")
    async with at_work(values.consumer(broker.bus, pool, TOPIC).run()):
        await effects_are(pool, "one")
        await reset(pool, broker.bus, values, (await broker.bus.end_offsets(TOPIC))[0] - 1)
        await publish(broker.bus, values, b"two")

        await effects_are(pool, "one", "one", "two")


async def test_a_reset_is_kept_with_who_did_it_and_why(broker: Broker, pool: Pool) -> None:
    values = Values()
    await publish(broker.bus, values, b"one")
    await consume(broker.bus, pool, values, "one")
    end = (await broker.bus.end_offsets(TOPIC))[0]

    await reset(pool, broker.bus, values, end - 1)

    row = await pool.fetchrow("SELECT * FROM consumer_offset_reset")
    assert row is not None
    assert (row["before_next"], row["after_next"], row["reset_by"], row["reason"]) == (end, end - 1, "a test", "why")
    [entry] = await recorded(pool, "quota")
    assert (entry.action, entry.subject) == ("consumer_offset.reset", f"consumer/quota.{values.purpose}")
    assert (entry.actor, entry.request_id, entry.reason) == ("a test", "req-1", "why")
    assert (entry.details["before"], entry.details["after"]) == (str(end), str(end - 1))


@pytest.mark.parametrize(("to", "partition"), [(10**9, 0), (-5, 0), ("latest", 99)])
async def test_a_reset_outside_the_log_is_refused(to: Target, partition: int, broker: Broker, pool: Pool) -> None:
    values = Values()

    with pytest.raises(BadReset):
        await reset(pool, broker.bus, values, to, partition)

    assert await pool.fetchval("SELECT count(*) FROM consumer_offset_reset") == 0
    assert await recorded(pool, "quota") == []


def test_the_operators_verb_resets_every_partition_and_says_what_it_did(
    fresh_database: Callable[..., str], kafka: KafkaAccess, actor_key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServiceSettings(postgres_url=fresh_database("verb"), actor_key_file=actor_key, **kafka_settings(kafka))
    asyncio.run(_prepare(settings))
    named = ["--service", "metering", "--consumer", "metering.any", "--topic", TOPIC, "--partition", "all"]

    done = main(["reset-offset", *named, "--to", "latest", "--reason", "the topic was made again"], lambda _: settings)

    lines = capsys.readouterr().out.splitlines()
    assert done == 0
    assert [line.partition(":")[0] for line in lines] == [f"metering.any {TOPIC}[{number}]" for number in range(4)]


async def _prepare(settings: ServiceSettings) -> None:
    async with kafka_broker(access_of(settings)) as broker, bus_store(settings.postgres_url):
        await broker.bus.ensure_topics([topic(TOPIC)])


def test_the_operators_verb_says_why_it_cannot(
    fresh_database: Callable[..., str], kafka: KafkaAccess, actor_key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServiceSettings(postgres_url=fresh_database("verb"), actor_key_file=actor_key, **kafka_settings(kafka))
    named = ["--service", "quota", "--consumer", "quota.any", "--topic", "no-such-topic", "--partition", "0"]

    done = main(["reset-offset", *named, "--to", "latest", "--reason", "any"], lambda _: settings)

    assert done == 1
    assert "there is no topic no-such-topic" in capsys.readouterr().err


def test_the_operators_verb_refuses_a_topic_that_the_service_does_not_read(
    fresh_database: Callable[..., str], kafka: KafkaAccess, actor_key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServiceSettings(postgres_url=fresh_database("verb"), actor_key_file=actor_key, **kafka_settings(kafka))
    named = ["--service", "quota", "--consumer", "quota.any", "--topic", TOPIC, "--partition", "0"]

    done = main(["reset-offset", *named, "--to", "latest", "--reason", "any"], lambda _: settings)

    assert done == 1
    assert f"quota does not read {TOPIC}; that do metering" in capsys.readouterr().err


async def test_a_group_that_keeps_its_offsets_in_the_broker_is_reset_there(broker: Broker, pool: Pool) -> None:
    values = Values()
    await publish(broker.bus, values, b"one", b"two")
    consumer, topic_id = f"quota.{values.purpose}", (await broker.bus.topic_ids([TOPIC]))[TOPIC]
    end = (await broker.bus.end_offsets(TOPIC))[0]

    done = await reset_committed(pool, broker.bus, Step(consumer, TOPIC, 0, "latest", WHY))
    again = await reset_committed(pool, broker.bus, Step(consumer, TOPIC, 0, end - 1, WHY))

    assert (done.before_next, done.after_next) == (None, end)
    assert (again.before_topic_id, again.before_next, again.after_next) == (topic_id, end, end - 1)
    assert await broker.bus.committed(f"maestro.{consumer}", TOPIC) == {0: Committed(end - 1, topic_id)}
    kept = await pool.fetch("SELECT after_next, reset_by FROM consumer_offset_reset ORDER BY id")
    assert [tuple(row) for row in kept] == [(end, "a test"), (end - 1, "a test")]
    begun_and_done = ["consumer_offset.reset_begun", "consumer_offset.reset"]
    assert [entry.action for entry in await recorded(pool, "quota")] == 2 * begun_and_done
