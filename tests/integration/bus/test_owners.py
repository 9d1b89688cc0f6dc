from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.bus.memory import MemoryBus
from libs.bus.offsets import NotOwner, Replaced
from libs.bus.ownership import Ownership
from libs.bus.ports import Bus
from libs.bus.records import Message, Record, TopicPartition
from libs.bus.subscription import Subscription
from libs.bus.writer import Writer
from libs.store.pool import Pool, Tx
from tests.support.bus import effects, fresh_name, say_names
from tests.support.conditions import eventually
from tests.support.consuming import Tenants, Values, at_work, dies, effects_are, relay_of

SHARDS = "usage-shards"
FIRST = TopicPartition(SHARDS, 0)


class Member:
    """One process's ownership and writer, driven step by step."""

    def __init__(self, bus: Bus, pool: Pool, values: Values, instance: str) -> None:
        subscription = Subscription("quota", values.purpose, (SHARDS,), instance)
        self.ownership = Ownership(bus, pool, subscription)
        self.writer = Writer(pool, subscription, values.handle, values.discard)


async def owning(member: Member) -> Member:
    await member.ownership.begin()
    return member


async def records_of(bus: MemoryBus, values: Values, *texts: bytes) -> list[Record]:
    await bus.publisher.publish([Message(SHARDS, values.key, text, partition=0) for text in texts])
    return bus.records(SHARDS)


async def test_an_owner_that_was_followed_writes_nothing(memory: MemoryBus, pool: Pool) -> None:
    values = Values()
    records = await records_of(memory, values, b"one")
    old, new = await owning(Member(memory, pool, values, "0")), await owning(Member(memory, pool, values, "1"))
    stale = await old.ownership.take(frozenset({FIRST}))
    await new.ownership.take(frozenset({FIRST}))

    with pytest.raises(NotOwner):
        await old.writer.write(stale, records, {FIRST: 1})

    assert await effects(pool) == []


async def test_an_owner_whose_offset_was_moved_writes_nothing(memory: MemoryBus, pool: Pool) -> None:
    values = Values()
    records = await records_of(memory, values, b"one", b"two")
    member = await owning(Member(memory, pool, values, "0"))
    owned = await member.ownership.take(frozenset({FIRST}))
    before = dict(owned)
    await member.writer.write(owned, records, {FIRST: 2})

    with pytest.raises(NotOwner):
        await member.writer.write(before, records, {FIRST: 2})

    assert await effects(pool) == ["one", "two"]


async def test_one_lost_partition_rolls_back_the_others_of_the_fetch(memory: MemoryBus, pool: Pool) -> None:
    values = Values()
    second = TopicPartition(SHARDS, 1)
    await memory.publisher.publish([Message(SHARDS, values.key, b"%d" % n, partition=n) for n in (0, 1)])
    old, new = await owning(Member(memory, pool, values, "0")), await owning(Member(memory, pool, values, "1"))
    stale = await old.ownership.take(frozenset({FIRST, second}))
    await new.ownership.take(frozenset({second}))

    with pytest.raises(NotOwner):
        await old.writer.write(stale, memory.records(SHARDS), {FIRST: 1, second: 1})

    assert await effects(pool) == []
    assert await pool.fetchval("SELECT sum(next) FROM consumer_offset") == 0


class Slow(Values):
    """Stops inside its transaction until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        self.entered.set()
        await self.let_go.wait()
        await super().handle(tx, records)


async def test_a_new_owner_sees_all_or_nothing_of_a_write_that_is_under_way(memory: MemoryBus, pool: Pool) -> None:
    slow = Slow()
    records = await records_of(memory, slow, b"one")
    old, new = await owning(Member(memory, pool, slow, "0")), await owning(Member(memory, pool, slow, "1"))
    owned = await old.ownership.take(frozenset({FIRST}))
    async with at_work(old.writer.write(owned, records, {FIRST: 1})):
        await slow.entered.wait()
        taking = asyncio.create_task(new.ownership.take(frozenset({FIRST})))
        await _waits_for_a_lock(pool)
        slow.let_go.set()

        assert (await taking)[FIRST].next == 1

    assert await effects(pool) == ["one"]


async def _waits_for_a_lock(pool: Pool) -> None:
    async def waits() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    await eventually(waits, "the new owner waits for the old one's row")


@asynccontextmanager
async def speaking(pool: Pool, tenants: Tenants, names: list[str]) -> AsyncIterator[None]:
    """Say the names one by one while the block runs, all by its end."""
    saying = asyncio.create_task(say_names(pool, *names, key=tenants.key))
    yield
    await saying


async def test_members_that_come_while_events_flow_cost_nothing_and_double_nothing(bus: Bus, pool: Pool) -> None:
    tenants = Tenants()
    names = [f"n{number}" for number in range(200)]
    one, two, three = (tenants.consumer(bus, pool, instance) for instance in ("0", "1", "2"))

    async with (
        at_work(relay_of(pool, bus).run(), one.run()),
        speaking(pool, tenants, names),
        at_work(two.run(), three.run()),
    ):
        await effects_are(pool, *names)


async def test_a_second_process_of_the_same_instance_ends_the_first(memory: MemoryBus, pool: Pool) -> None:
    tenants = Tenants()
    async with at_work(tenants.consumer(memory, pool, "0").run()) as (first,):
        await _owns(pool, tenants, 1)
        async with at_work(tenants.consumer(memory, pool, "0").run()):
            text = await dies(first, Replaced)

    assert "give each its own MAESTRO_INSTANCE" in text


async def _owns(pool: Pool, tenants: Tenants, epoch: int) -> None:
    async def owns() -> bool:
        return epoch <= (
            await pool.fetchval("SELECT max(owner_epoch) FROM consumer_offset WHERE consumer = $1", tenants.name) or 0
        )

    await eventually(owns, f"owner epoch {epoch}")


async def test_memory_is_discarded_before_partitions_are_owned_and_after_a_rollback(
    memory: MemoryBus, pool: Pool
) -> None:
    values = Failing()
    await memory.publisher.publish([Message(SHARDS, values.key, b"one", partition=0)])

    async with at_work(values.consumer(memory, pool, SHARDS).run()):
        await effects_are(pool, "one")

    assert values.discards_before_each_try == [1, 2]


class Failing(Values):
    """Fails once, and notes how often it was told to forget before each try."""

    def __init__(self) -> None:
        super().__init__(purpose=fresh_name("failing"))
        self.discards_before_each_try: list[int] = []

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        self.discards_before_each_try.append(self.discarded)
        await super().handle(tx, records)
        if len(self.discards_before_each_try) == 1:
            raise ConnectionResetError
