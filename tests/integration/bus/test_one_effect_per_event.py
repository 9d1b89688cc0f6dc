from __future__ import annotations

import asyncpg
import pytest

from libs.bus.ports import Bus
from libs.bus.records import Message
from libs.bus.relay import Relay
from libs.runtime.errors import Unavailable
from libs.runtime.tracing import current_trace_id, span, start_tracing
from libs.store.pool import Pool
from tests.support.bus import effects, say_names
from tests.support.conditions import eventually
from tests.support.consuming import TENANTS, Tenants, at_work, effects_are, outbox_is_empty, relay_of

DROP_ALL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
"""


async def test_every_event_has_its_effect_in_the_order_it_was_said(bus: Bus, pool: Pool) -> None:
    tenants = Tenants()
    names = [f"n{number}" for number in range(50)]

    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await say_names(pool, *names, key=tenants.key)

        await effects_are(pool, *names)


async def test_a_consumer_that_starts_first_reads_from_the_logs_start(bus: Bus, pool: Pool) -> None:
    tenants = Tenants()
    await say_names(pool, "before", key=tenants.key)
    await relay_of(pool, bus).drain()

    async with at_work(tenants.consumer(bus, pool).run()):
        await effects_are(pool, "before")


async def test_a_consumer_that_comes_back_goes_on_where_it_was(bus: Bus, pool: Pool) -> None:
    tenants = Tenants()
    async with at_work(relay_of(pool, bus).run()):
        async with at_work(tenants.consumer(bus, pool).run()):
            await say_names(pool, "one", key=tenants.key)
            await effects_are(pool, "one")
        await say_names(pool, "two", key=tenants.key)

        async with at_work(tenants.consumer(bus, pool).run()):
            await effects_are(pool, "one", "two")

    assert tenants.seen == ["one", "two"]


async def test_what_a_relay_publishes_twice_has_one_effect(bus: Bus, pool: Pool) -> None:
    tenants = Tenants()
    await say_names(pool, "once", "again", key=tenants.key)
    rows = await pool.fetch("SELECT * FROM outbox")
    await relay_of(pool, bus).drain()
    await _say_again(pool, rows)
    await relay_of(pool, bus).drain()
    await say_names(pool, "last", key=tenants.key)
    await relay_of(pool, bus).drain()

    async with at_work(tenants.consumer(bus, pool).run()):
        await effects_are(pool, "once", "again", "last")


async def _say_again(pool: Pool, rows: list[asyncpg.Record]) -> None:
    """Put rows back as a relay leaves them that dies after publishing: sequenced, not deleted."""
    last = await pool.fetchrow("SELECT partition, seq FROM outbox_sequence")
    assert last is not None
    await pool.executemany(
        """INSERT INTO outbox (event_id, topic, key, value, header_names, header_values, stamped, size_bytes,
                               partition, epoch, seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10)""",
        [
            [*[row[name] for name in _KEPT], last["partition"], last["seq"] - len(rows) + 1 + index]
            for index, row in enumerate(rows)
        ],
    )


_KEPT = ("event_id", "topic", "key", "value", "header_names", "header_values", "stamped", "size_bytes")


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Unavailable("try again"), id="unavailable"),
        pytest.param(asyncpg.SerializationError("40001"), id="serialization failure"),
        pytest.param(asyncpg.DeadlockDetectedError("40P01"), id="deadlock"),
        pytest.param(asyncpg.AdminShutdownError("57P01"), id="server shutting down"),
        pytest.param(ConnectionResetError("reset"), id="lost connection"),
    ],
)
async def test_an_effect_that_was_rolled_back_is_made_again_once(failure: Exception, bus: Bus, pool: Pool) -> None:
    tenants = Tenants(fail_once={"two": failure})
    await say_names(pool, "one", "two", "three", key=tenants.key)
    await relay_of(pool, bus).drain()

    async with at_work(tenants.consumer(bus, pool).run()):
        await effects_are(pool, "one", "two", "three")

    assert tenants.seen.count("two") == 2


async def test_a_store_that_drops_every_connection_costs_no_effect_and_doubles_none(bus: Bus, pool: Pool) -> None:
    tenants = Tenants()
    names = [f"n{number}" for number in range(30)]
    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await say_names(pool, *names[:15], key=tenants.key)
        await pool.execute(DROP_ALL_OTHERS)
        await say_names(pool, *names[15:], key=tenants.key)

        await effects_are(pool, *names)
        await outbox_is_empty(pool)


async def test_an_effect_is_made_under_the_trace_that_said_it(bus: Bus, pool: Pool) -> None:
    start_tracing("test")
    tenants = Tenants()
    with span("request"):
        trace_id = current_trace_id()
        await say_names(pool, "traced", key=tenants.key)

    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await effects_are(pool, "traced")

    assert trace_id is not None
    assert trace_id in await pool.fetchval("SELECT trace FROM effect")


async def test_nothing_is_said_by_a_transaction_that_fails(bus: Bus, pool: Pool) -> None:
    tenants = Tenants(refuse=("refused",))
    relay: Relay = relay_of(pool, bus)
    await say_names(pool, "refused", "taken", key=tenants.key)

    async with at_work(relay.run(), tenants.consumer(bus, pool).run()):
        await effects_are(pool, "taken")


async def test_records_without_a_stamp_are_all_handled(bus: Bus, pool: Pool) -> None:
    tenants = Tenants()
    await say_names(pool, "foreign", key=tenants.key)
    row = await pool.fetchrow("DELETE FROM outbox RETURNING value, header_names, header_values")
    assert row is not None
    headers = [(name.decode(), value) for name, value in zip(row["header_names"], row["header_values"], strict=True)]
    foreign = Message(TENANTS, tenants.key.encode(), row["value"], (("ce_id", b"1"), *headers))

    async with at_work(tenants.consumer(bus, pool).run()):
        await bus.publisher.publish([foreign, foreign])

        await effects_are(pool, "foreign", "foreign")


async def test_progress_says_how_far_the_consumer_is(bus: Bus, pool: Pool) -> None:
    tenants = Tenants()
    consumer = tenants.consumer(bus, pool)
    assert consumer.progress.watermark() is None
    async with at_work(relay_of(pool, bus).run(), consumer.run()):
        await say_names(pool, "one", key=tenants.key)
        await effects_are(pool, "one")
        said_at = await pool.fetchval("SELECT now()")

        async def has_caught_up() -> bool:
            mark = consumer.progress.watermark()
            return mark is not None and mark > said_at

        await eventually(has_caught_up, "the watermark has passed what was said")
        assert set(consumer.progress.lag().values()) == {0}
    assert await effects(pool) == ["one"]
