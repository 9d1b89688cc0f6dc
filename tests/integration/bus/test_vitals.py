"""What /metrics says of the bus, on a real store and both brokers: as it is, also where a consumer does not run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from libs.bus.forwarder import Forwarder
from libs.bus.kafka import KafkaAccess
from libs.bus.memory import MemoryBus
from libs.bus.ports import Bus, Committed
from libs.bus.records import Message, Record, TopicPartition
from libs.bus.standing import Standings
from libs.bus.subscription import Subscription
from libs.bus.vitals import Vitals, retention_used
from libs.runtime.clock import ManualClock, SystemClock
from libs.runtime.errors import Broken, Unavailable
from libs.runtime.metrics import start_metrics
from libs.schemas.topics import registry
from libs.store.pool import Pool
from tests.support.bus import fresh_name, kafka_broker, say_names, spec
from tests.support.conditions import eventually
from tests.support.consuming import TENANTS, Tenants, Values, at_work, dead_letters, effects_are, relay_of
from tests.support.exposed import exposed
from tests.support.kafka import KafkaOf

SHARDS = "usage-shards"


@pytest.fixture(autouse=True, scope="module")
def provider() -> None:
    start_metrics("quota")


def vitals(pool: Pool, bus: Bus) -> Vitals:
    return Vitals(pool, bus, service=fresh_name("service"), clock=SystemClock())


async def one_taken(bus: Bus, pool: Pool, values: Values) -> None:
    """Let the consumer take one record, and end."""
    await bus.publisher.publish([Message(SHARDS, values.key, b"taken", partition=0)])
    async with at_work(values.consumer(bus, pool, SHARDS).run()):
        await effects_are(pool, "taken")


async def test_lag_and_watermark_are_those_of_a_consumer_that_runs_no_more(bus: Bus, pool: Pool) -> None:
    values = Values()
    consumer = f"quota.{values.purpose}"
    await one_taken(bus, pool, values)
    await bus.publisher.publish([Message(SHARDS, values.key, b"%d" % number, partition=0) for number in range(3)])
    before_s = datetime.now(UTC).timestamp()

    await vitals(pool, bus).sample()

    assert exposed("maestro_bus_consumer_lag", consumer=consumer, topic=SHARDS, partition="0") == [3]
    assert exposed("maestro_bus_consumer_lag", consumer=consumer, topic=SHARDS, partition="1") == [0]
    (age_s,) = exposed("maestro_bus_consumer_lag_age_seconds", consumer=consumer)
    (watermark_s,) = exposed("maestro_bus_consumer_watermark_timestamp_seconds", consumer=consumer)
    assert 0 <= age_s < 60
    assert before_s - 60 < watermark_s <= datetime.now(UTC).timestamp()


async def test_a_fresh_record_after_an_idle_week_is_no_week_of_lag(pool: Pool) -> None:
    clock, values = ManualClock(datetime(2026, 11, 1, tzinfo=UTC)), Values()
    bus = MemoryBus(clock)
    await bus.ensure_topics(list(registry().values()))
    await one_taken(bus, pool, values)
    clock.advance(timedelta(days=7))
    await bus.publisher.publish([Message(SHARDS, values.key, b"fresh", partition=0)])
    clock.advance(timedelta(seconds=2))

    look = await Standings(pool, bus, clock).look()

    assert look.ages_s() == {(f"quota.{values.purpose}", SHARDS): 2.0}


async def test_a_record_that_nobody_handles_uses_up_its_retention(pool: Pool) -> None:
    clock, values = ManualClock(datetime(2026, 11, 1, tzinfo=UTC)), Values()
    bus = MemoryBus(clock)
    await bus.ensure_topics(list(registry().values()))
    await one_taken(bus, pool, values)
    await bus.publisher.publish([Message(SHARDS, values.key, b"waits", partition=0)])
    clock.advance(timedelta(hours=(registry()[SHARDS].retention_h or 0) * 3 / 4))

    look = await Standings(pool, bus, clock).look()

    assert retention_used(look.ages_s()) == {(f"quota.{values.purpose}", SHARDS): 0.75}


async def test_a_consumer_that_keeps_its_offsets_in_the_broker_is_seen_too(bus: Bus, pool: Pool) -> None:
    topic = spec(fresh_name("topic"), partitions=2)
    await bus.ensure_topics([topic])
    of = Subscription("quota", fresh_name("forwarding"), (topic.name,), "0", kept_in="broker")
    await bus.publisher.publish([Message(topic.name, None, b"taken", partition=0)])
    async with at_work(Forwarder(bus, of, _taken).run()):

        async def is_committed() -> bool:
            return any(one.next for one in (await bus.committed(of.group, topic.name)).values())

        await eventually(is_committed, "one is taken", within_s=40)
    await bus.publisher.publish([Message(topic.name, None, b"waits", partition=0)] * 2)

    look = await Standings(pool, bus, SystemClock(), [of]).look()

    (age_s,) = [age_s for (consumer, _), age_s in look.ages_s().items() if consumer == of.consumer]
    assert [look.lags()[of.consumer, topic.name, number] for number in range(2)] == [2, 0]
    assert 0 <= age_s < 60


async def test_what_the_broker_dropped_unread_still_waits_for_who_never_took_anything(pool: Pool) -> None:
    clock = ManualClock(datetime(2026, 11, 1, tzinfo=UTC))
    bus = MemoryBus(clock)
    await bus.ensure_topics(list(registry().values()))
    of = Subscription("quota", "never", (SHARDS,), "0", kept_in="broker")
    await bus.commit_for(of.group, SHARDS, {0: Committed(0)})
    for text in (b"dropped", b"waits"):
        await bus.publisher.publish([Message(SHARDS, None, text, partition=0)])
        clock.advance(timedelta(hours=1))
    bus.drop_before(TopicPartition(SHARDS, 0), 1)

    look = await Standings(pool, bus, clock, [of]).look()

    assert look.lags()["quota.never", SHARDS, 0] == 2
    assert look.ages_s()["quota.never", SHARDS] == 3600.0


async def _taken(_: Sequence[Record]) -> None:
    """Is durable at once."""


async def test_what_is_said_and_not_published_is_seen_with_its_age(memory: MemoryBus, pool: Pool) -> None:
    await say_names(pool, "one", "two", key="tenant/x")
    await pool.execute("UPDATE outbox SET created_at = created_at - interval '90 seconds'")

    sampler = vitals(pool, memory)
    await sampler.sample()

    assert 2 in exposed("maestro_bus_outbox_rows")
    assert any(90 <= age_s < 150 for age_s in exposed("maestro_bus_outbox_age_seconds"))


async def test_the_lease_is_held_while_a_relay_works_and_not_after(memory: MemoryBus, pool: Pool) -> None:
    sampler = Vitals(pool, memory, service="lease", clock=SystemClock())

    async def is_held() -> bool:
        await sampler.sample()
        return exposed("maestro_bus_relay_lease_held").count(1) > before

    await sampler.sample()
    before = exposed("maestro_bus_relay_lease_held").count(1)
    await say_names(pool, "one", key="tenant/x")
    async with at_work(relay_of(pool, memory).run()):
        await eventually(is_held, "the lease is held")

    await sampler.sample()
    assert exposed("maestro_bus_relay_lease_held").count(1) == before


async def test_a_record_set_aside_waits_until_somebody_decides_and_is_counted_by_its_reason(
    bus: Bus, pool: Pool
) -> None:
    tenants = Tenants(refuse=("bad",))
    await say_names(pool, "good", "bad", key=tenants.key)
    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await effects_are(pool, "good")
        await dead_letters(bus, TENANTS, tenants.name, 1)

    await vitals(pool, bus).sample()

    assert exposed("maestro_bus_dead_letters_waiting", consumer=tenants.name, topic=TENANTS)[0] >= 1
    assert exposed("maestro_bus_dead_letters_total", consumer=tenants.name, reason="rejected") == [1]
    assert exposed("maestro_bus_dead_letters_kept", topic=TENANTS)[0] >= 1


async def test_what_cannot_be_learnt_is_not_shown(memory: MemoryBus, pool: Pool) -> None:
    values = Values()
    await one_taken(memory, pool, values)
    async with at_work(vitals(pool, memory).run()):

        async def is_shown() -> bool:
            return bool(exposed("maestro_bus_consumer_lag", consumer=f"quota.{values.purpose}"))

        await eventually(is_shown, "the lag is shown")
        memory.down = True
        with pytest.raises(Unavailable):
            await Standings(pool, memory, SystemClock()).look()

        async def is_gone() -> bool:
            return not await is_shown()

        await eventually(is_gone, "a lag that may have changed unseen is not shown")


async def test_an_offset_in_a_topic_that_the_service_may_not_see_hides_no_other(
    kafka: KafkaAccess, kafka_of: KafkaOf, pool: Pool
) -> None:
    async with kafka_broker(kafka) as ours, kafka_broker(kafka_of("quota")) as quotas:
        ids = await ours.bus.topic_ids(["usage-windows", "close-requests"])
        for topic, topic_id in ids.items():
            await pool.execute(
                "INSERT INTO consumer_offset (consumer, topic_id, partition, topic, next, instance)"
                " VALUES ('quota.any', $1, 0, $2, 0, '0')",
                *(topic_id, topic),
            )
        with pytest.raises(Broken, match="does not allow it: topic close-requests"):
            await quotas.bus.topic_ids(ids)

        look = await Standings(pool, quotas.bus, SystemClock()).look()

    assert len(ids) == 2
    assert {topic for _, topic, _ in look.lags()} == {"usage-windows"}
