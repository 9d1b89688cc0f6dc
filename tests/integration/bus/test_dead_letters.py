"""A record that was set aside comes back byte for byte once the fault is mended, and counts once; or it is given up."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
from msgspec import structs

from libs.bus.deadletters.register import Entry, Sought
from libs.bus.deadletters.replay import Desk, Verdict
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.lookup import record_at, records_of
from libs.bus.memory import MemoryBus
from libs.bus.ports import Bus
from libs.bus.records import Message, Record, TopicPartition
from libs.bus.subscription import Poison, PoisonRecords
from libs.runtime.acts import Act
from libs.schemas.topics import topic
from libs.store.pool import Pool, Tx
from tests.support.bus import effects, say_names
from tests.support.conditions import eventually
from tests.support.consuming import TENANTS, Tenants, Values, at_work, dies, effects_are, outbox_is_empty, relay_of
from tests.support.stores import as_owner

SHARDS = "usage-shards"
MENDED = Act("ada", "req-1", "the parser is mended")


async def set_aside(bus: Bus, pool: Pool, tenants: Tenants, *names: str) -> list[Entry]:
    """Say the names, have the consumer take what it can, and return the letters of what it could not."""
    await say_names(pool, *names, key=tenants.key)
    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await effects_are(pool, *(name for name in names if name not in tenants.refuse))
        return await letters_are(bus, pool, len([name for name in names if name in tenants.refuse]))


async def letters_are(bus: Bus, pool: Pool, count: int) -> list[Entry]:
    """Wait until so many letters are registered, and on their topic."""

    async def reached() -> bool:
        return len(await refused_by(bus, pool)) >= count

    await eventually(reached, f"{count} letters", within_s=40)
    await outbox_is_empty(pool)
    return await refused_by(bus, pool)


async def refused_by(bus: Bus, pool: Pool) -> list[Entry]:
    """What consumers of this test refused, without the nonsense that other tests left on the topic."""
    found = await Desk(pool, bus).find(Sought())
    return [one for one in found if one.reason in {"rejected", "too_large"}]


async def replay(pool: Pool, bus: Bus, *entries: Entry, again: bool = False) -> list[Verdict]:
    """Replay the letters as they now are."""
    desk = Desk(pool, bus)
    return await desk.replay(await desk.find(Sought([one.id for one in entries])), MENDED, again=again)


async def copies_of(bus: Bus, entry: Entry) -> list[Record]:
    """All records on the letter's topic with its key, without what tells them apart by place and time."""
    key = (await record_at(bus, TopicPartition(entry.topic, entry.partition), entry.offset) or fail()).key
    found = [one async for one in records_of(bus, entry.topic) if one.key == key and one.offset >= entry.offset]
    return [structs.replace(one, offset=0, appended_at_ms=0) for one in found]


def fail() -> Record:
    raise AssertionError("the record is gone")


async def test_a_replayed_event_comes_back_byte_for_byte_and_its_consumer_takes_it_once(bus: Bus, pool: Pool) -> None:
    tenants = Tenants(refuse=("bad",))
    (letter,) = await set_aside(bus, pool, tenants, "one", "bad")

    mended = replace(tenants, refuse=())
    async with at_work(relay_of(pool, bus).run(), mended.consumer(bus, pool).run()):
        (first,) = await replay(pool, bus, letter)
        await effects_are(pool, "one", "bad")
        (second,) = await replay(pool, bus, letter, again=True)
        await say_names(pool, "after", key=tenants.key)
        await effects_are(pool, "one", "bad", "after")

    assert (first.outcome, second.outcome) == ("replayed", "left alone")
    assert "taken by its consumer" in second.why
    original, copy, _ = await copies_of(bus, letter)
    assert copy == original


async def test_a_consumer_that_took_the_event_the_first_time_drops_the_replayed_one(bus: Bus, pool: Pool) -> None:
    picky, content = Tenants(refuse=("bad",)), Tenants()
    content.key = picky.key
    await say_names(pool, "bad", key=picky.key)
    async with at_work(relay_of(pool, bus).run(), picky.consumer(bus, pool).run(), content.consumer(bus, pool).run()):
        await effects_are(pool, "bad")
        (letter,) = await letters_are(bus, pool, 1)
    picky.refuse = ()

    async with at_work(relay_of(pool, bus).run(), picky.consumer(bus, pool).run(), content.consumer(bus, pool).run()):
        await replay(pool, bus, letter)
        await effects_are(pool, "bad", "bad")
        await say_names(pool, "after", key=picky.key)
        await effects_are(pool, "bad", "bad", "after", "after")

    assert content.seen == ["bad", "after"]


async def test_a_replay_that_was_cut_off_before_its_mark_is_done_again_and_counts_once(bus: Bus, pool: Pool) -> None:
    tenants = Tenants(refuse=("bad",))
    (letter,) = await set_aside(bus, pool, tenants, "bad")
    await replay(pool, bus, letter)
    await pool.execute("UPDATE dead_letter SET state = 'replaying'")

    (verdict,) = await replay(pool, bus, letter)
    tenants.refuse = ()
    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await effects_are(pool, "bad")
        await say_names(pool, "after", key=tenants.key)
        await effects_are(pool, "bad", "after")

    assert verdict.outcome == "replayed"
    assert len(await copies_of(bus, letter)) == 4  # the first, two copies, and what came after


async def test_what_fails_again_is_a_letter_again(bus: Bus, pool: Pool) -> None:
    tenants = Tenants(refuse=("bad",))
    (letter,) = await set_aside(bus, pool, tenants, "bad")

    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await replay(pool, bus, letter)
        before, again = await letters_are(bus, pool, 2)

    assert (before.id, before.state, again.state) == (letter.id, "replayed", "waiting")
    assert (again.digest, again.partition) == (letter.digest, letter.partition)
    assert again.offset > letter.offset


async def test_an_old_state_of_a_key_is_not_brought_back(memory: MemoryBus, pool: Pool) -> None:
    tenants = Tenants(refuse=("old",))
    (letter,) = await set_aside(memory, pool, tenants, "old", "new")

    (verdict,) = await replay(pool, memory, letter)

    assert verdict.outcome == "left alone"
    assert "a newer record of its key" in verdict.why
    assert (await Desk(pool, memory).find(Sought()))[0].state == "waiting"


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(memory: MemoryBus, pool: Pool) -> None:
    (letter,) = await set_aside(memory, pool, Tenants(refuse=("bad",)), "bad")
    before = await memory.end_offsets(TENANTS)

    (verdict,) = await Desk(pool, memory).replay([letter], MENDED, dry_run=True)

    assert verdict.outcome == "would be replayed"
    assert await memory.end_offsets(TENANTS) == before
    assert await pool.fetchval("SELECT count(*) FROM dead_letter_step") == 0


async def test_a_letter_that_was_dropped_is_not_replayed_and_who_dropped_it_is_kept(
    memory: MemoryBus, pool: Pool
) -> None:
    (letter,) = await set_aside(memory, pool, Tenants(refuse=("bad",)), "bad")
    desk = Desk(pool, memory)

    (dropped,) = await desk.drop([letter], Act("ada", "req-2", "a test of the sender's"))
    (replayed,) = await replay(pool, memory, letter, again=True)
    record, (step,) = await desk.look(letter)

    assert (dropped.outcome, replayed.outcome) == ("dropped", "left alone")
    assert (step.step, step.by, step.reason) == ("drop", "ada", "a test of the sender's")
    assert record is not None


async def test_a_letter_whose_record_is_gone_says_so(memory: MemoryBus, pool: Pool) -> None:
    (letter,) = await set_aside(memory, pool, Tenants(refuse=("bad",)), "bad")
    memory.drop_before(TopicPartition(f"{TENANTS}-dlq", 0), 1)

    (verdict,) = await replay(pool, memory, letter)

    assert verdict.outcome == "left alone"
    assert "the record is gone" in verdict.why


class Refusing(Values):
    """Refuses what is larger than a hundred bytes, until it is mended."""

    is_mended = False

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        large = [one for one in records if one.key == self.key and len(one.value or b"") > 100]
        if large and not self.is_mended:
            raise PoisonRecords(*(Poison(one, "too_large", "more than it takes") for one in large))
        sizes = [structs.replace(one, value=b"%d" % len(one.value or b"")) for one in records]
        await super().handle(tx, sizes)


async def test_a_record_larger_than_its_topic_allows_blocks_nothing_and_is_replayed_from_where_it_lies(
    kafka: KafkaAccess, pool: Pool
) -> None:
    bus = KafkaBus(kafka, client_id="test")
    await bus.start()
    await bus.ensure_topics([topic(SHARDS)])
    values, size = Refusing(), topic(SHARDS).max_record_bytes + 1_000_000
    messages = [Message(SHARDS, values.key, bytes(size), partition=0), Message(SHARDS, values.key, b"x", partition=0)]
    await bus.publisher.publish(messages)  # zeros: compressed they are small, and the broker takes them

    async with at_work(relay_of(pool, bus).run(), values.consumer(bus, pool, SHARDS).run()):
        await effects_are(pool, "1")
        (letter,) = await letters_are(bus, pool, 1)
        values.is_mended = True
        (verdict,) = await replay(pool, bus, letter)
        await effects_are(pool, "1", str(size))

    await bus.stop()
    assert letter.by_reference
    assert verdict.outcome == "replayed"
    assert await pool.fetchval("SELECT coalesce(max(size_bytes), 0) FROM outbox") < size


async def test_a_batch_with_one_poison_is_searched_in_logarithmic_time(memory: MemoryBus, pool: Pool) -> None:
    values = Values()
    texts = [b"v%04d" % number for number in range(1024)]
    texts[700] = b"nul\x00"
    await memory.publisher.publish([Message(SHARDS, values.key, text, partition=0) for text in texts])

    async with at_work(values.consumer(memory, pool, SHARDS, max_records=1024).run()):
        await letters_are_registered(pool, 1)
        await effects_are(pool, *[text.decode() for text in texts if text != b"nul\x00"])

    assert len(values.batches) <= 2 * 10 + 2  # two halves at each of ten levels, the whole, and the lone one once more


async def letters_are_registered(pool: Pool, count: int) -> None:
    async def reached() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM dead_letter") == count)

    await eventually(reached, f"{count} letters are registered", within_s=40)


async def test_a_letter_that_cannot_be_set_aside_stops_the_consumer_and_loses_nothing(
    memory: MemoryBus, pool: Pool, dsn: str
) -> None:
    tenants = Tenants(refuse=("bad",))
    await say_names(pool, "bad", key=tenants.key)
    await relay_of(pool, memory).drain()
    await as_owner(dsn, "ALTER TABLE dead_letter ADD CHECK (topic = '')")

    async with at_work(tenants.consumer(memory, pool).run()) as (task,):
        await dies(task, asyncpg.CheckViolationError)

    assert await effects(pool) == []
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
    assert await pool.fetchval("SELECT sum(next) FROM consumer_offset") == 0
