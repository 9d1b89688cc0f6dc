from __future__ import annotations

import asyncio
import itertools

import pytest

from libs.bus.lease import LEASE_S
from libs.bus.memory import MemoryBus
from libs.bus.outbox import say
from libs.bus.records import Message, Record
from libs.bus.relay import Relay
from libs.bus.sequencing import give_out
from libs.runtime.errors import Unavailable
from libs.schemas.events import TenantChanged
from libs.store.epoch import raise_store_epoch
from libs.store.pool import Pool, transaction
from tests.support.bus import say_names, tenant_changed
from tests.support.consuming import TENANTS, Tenants, at_work, effects_are, outbox_is_empty, relay_of
from tests.support.stores import owner_of

LEASE_RUNS_OUT = "UPDATE relay_lease SET expires_at = now()"


def places(records: list[Record]) -> list[tuple[int, int]]:
    """(epoch, seq) of each record."""
    return [(int(one.header("ce_maestroepoch") or 0), int(one.header("ce_maestroseq") or 0)) for one in records]


def names(records: list[Record]) -> list[str]:
    return [TenantChanged.model_validate_json(record.value or b"").name for record in records]


async def test_sequences_count_each_partition_without_a_gap(memory: MemoryBus, pool: Pool) -> None:
    for number in range(40):
        await say_names(pool, "n", key=f"tenant/{number}")

    await relay_of(pool, memory).drain()

    by_partition = itertools.groupby(memory.records(TENANTS), key=lambda record: record.partition)
    found = {number: places(list(records)) for number, records in by_partition}
    assert len(found) == 4
    assert found == {number: [(1, n) for n in range(1, len(got) + 1)] for number, got in found.items()}


async def test_one_key_keeps_the_order_in_which_things_were_said(memory: MemoryBus, pool: Pool) -> None:
    said = [f"n{number}" for number in range(30)]
    await say_names(pool, *said, key="tenant/same")

    await relay_of(pool, memory).drain()

    assert names(memory.records(TENANTS)) == said


async def test_nothing_is_published_that_was_rolled_back(memory: MemoryBus, pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        await _say_and_fail(pool)

    assert await relay_of(pool, memory).drain() == 0
    assert memory.records(TENANTS) == []


async def _say_and_fail(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await say(tx, TENANTS, tenant_changed("never"), key="k")
        raise ZeroDivisionError


async def test_of_two_relays_one_works_and_the_other_stands_by(memory: MemoryBus, pool: Pool) -> None:
    await say_names(pool, "one", key="k")
    assert await relay_of(pool, memory, "0").drain() == 1
    await say_names(pool, "two", key="k")

    assert await relay_of(pool, memory, "1").drain() == 0
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 1


async def test_a_relay_whose_lease_ran_out_is_followed_by_another(memory: MemoryBus, pool: Pool) -> None:
    first = relay_of(pool, memory, "0")
    await say_names(pool, "one", key="k")
    await first.drain()
    await say_names(pool, "two", key="k")
    await pool.execute(LEASE_RUNS_OUT)

    assert await relay_of(pool, memory, "1").drain() == 1
    await say_names(pool, "three", key="k")
    assert await first.drain() == 0


async def test_a_relay_that_stood_still_for_its_lease_publishes_nothing(memory: MemoryBus, pool: Pool) -> None:
    loop = asyncio.get_running_loop()
    thawed = Relay(pool, memory, service="identity", instance="0", loop_time_s=lambda: loop.time() - LEASE_S)
    await say_names(pool, "one", key="k")

    with pytest.raises(Unavailable):
        await thawed.drain()

    assert memory.records(TENANTS) == []
    assert await relay_of(pool, memory, "0").drain() == 1


async def test_a_relay_that_comes_back_under_its_name_need_not_wait(memory: MemoryBus, pool: Pool) -> None:
    await say_names(pool, "one", key="k")
    await relay_of(pool, memory, "0").drain()
    await say_names(pool, "two", key="k")

    assert await relay_of(pool, memory, "0").drain() == 1


async def test_a_relay_that_ends_gives_its_lease_back(memory: MemoryBus, pool: Pool) -> None:
    async with at_work(relay_of(pool, memory, "0").run()):
        await say_names(pool, "one", key="k")
        await outbox_is_empty(pool)
    await say_names(pool, "two", key="k")

    assert await relay_of(pool, memory, "1").drain() == 1


async def test_what_has_a_sequence_goes_before_what_was_said_later(memory: MemoryBus, pool: Pool) -> None:
    await say_names(pool, "one", "two", key="k")
    async with transaction(pool) as tx:
        await give_out(tx, memory.partitions)
    await say_names(pool, "three", key="k")

    await relay_of(pool, memory).drain()

    assert names(memory.records(TENANTS)) == ["one", "two", "three"]
    assert places(memory.records(TENANTS)) == [(1, 1), (1, 2), (1, 3)]


async def test_an_outage_of_the_broker_is_waited_out(memory: MemoryBus, pool: Pool) -> None:
    memory.down = True
    async with at_work(relay_of(pool, memory).run()):
        await say_names(pool, "one", "two", key="k")
        memory.down = False

        await outbox_is_empty(pool)

    assert names(memory.records(TENANTS)) == ["one", "two"]


async def test_after_a_restore_the_epoch_counts_anew_and_consumers_go_on(
    memory: MemoryBus, pool: Pool, dsn: str
) -> None:
    tenants = Tenants()
    async with at_work(relay_of(pool, memory).run(), tenants.consumer(memory, pool).run()):
        await say_names(pool, "one", "two", key=tenants.key)
        await outbox_is_empty(pool)
        async with owner_of(dsn) as owner:
            await raise_store_epoch(owner, "restored from a backup")
        await say_names(pool, "three", key=tenants.key)

        await effects_are(pool, "one", "two", "three")

    assert places(memory.records(TENANTS)) == [(1, 1), (1, 2), (2, 1)]


async def test_one_turn_takes_no_more_bytes_than_fit_in_memory(memory: MemoryBus, pool: Pool) -> None:
    await say_names(pool, *["n"] * 5, key="k")
    await pool.execute("UPDATE outbox SET size_bytes = 5 * 1024 * 1024")

    relay = relay_of(pool, memory)

    assert [await relay._turn() for _ in range(4)] == [2, 2, 1, 0]


async def test_an_event_keeps_its_id_however_often_it_is_published(memory: MemoryBus, pool: Pool) -> None:
    await say_names(pool, "one", key="k")
    event_id = str(await pool.fetchval("SELECT event_id FROM outbox")).encode()

    await relay_of(pool, memory).drain()

    (record,) = memory.records(TENANTS)
    assert record.header("ce_id") == event_id


async def test_what_a_relay_still_has_in_hand_is_refused_where_its_successor_has_spoken(
    memory: MemoryBus, pool: Pool
) -> None:
    frozen, successor = relay_of(pool, memory), relay_of(pool, memory, "1")
    await say_names(pool, "one", key="tenant/same")
    await frozen.drain()
    await pool.execute(LEASE_RUNS_OUT)
    await say_names(pool, "two", key="tenant/same")
    await successor.drain()
    in_hand = memory.records(TENANTS)[0]

    with pytest.raises(Unavailable):
        await frozen._voice.publish([Message(TENANTS, in_hand.key, in_hand.value, in_hand.headers)])

    assert names(memory.records(TENANTS)) == ["one", "two"]
