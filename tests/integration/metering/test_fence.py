"""The order of things, step by step: what a close waits for, and what a batch finds closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest

from libs.bus.memory import MemoryBus
from libs.bus.records import Message, Record
from libs.runtime.clock import ManualClock
from libs.runtime.errors import Unavailable
from libs.schemas.events import CloseRequested, PeriodClosed
from libs.schemas.values import Period, TenantId, from_microseconds
from libs.store.pool import Pool, Tx, transaction
from services.metering.consumer import Closer, shard_consumer
from services.metering.domain.records import encode
from services.metering.domain.watermark import Watermarks
from services.metering.errors import FrozenWindowTouched
from services.metering.handlers.awaiting import Awaited
from services.metering.handlers.batches import ShardOwner
from services.metering.handlers.closing import Closing
from services.metering.handlers.known_ids import KnownIds
from services.metering.handlers.publishing import Publishing
from services.metering.handlers.reading import Reading
from services.metering.settings import MeteringSettings
from services.metering.store import MIGRATIONS, closes, windows
from services.metering.store.run_files import RunFiles
from tests.support.conditions import eventually
from tests.support.consuming import at_work
from tests.support.metering import ALICE, NOON_US, default_meters, usage
from tests.support.stores import pools_on

TENANT = TenantId(ALICE)
NOON = from_microseconds(NOON_US)


@pytest.fixture
async def pool(settings: MeteringSettings) -> AsyncIterator[Pool]:
    async with pools_on(settings.postgres_url, [MIGRATIONS]) as pools:
        yield pools.worker


@pytest.fixture
def owner(pool: Pool, broker: MemoryBus, settings: MeteringSettings) -> ShardOwner:
    return ShardOwner(default_meters(), KnownIds(broker, pool, RunFiles(settings.runs_path)))


@pytest.fixture
def closing(clock: ManualClock) -> Closing:
    return Closing(default_meters(), clock)


def record(*amounts: int) -> Record:
    events = [usage(str(uuid4()), ingest_events=amount) for amount in amounts]
    [(partition, value)] = encode(events, 1)
    return Record("usage-shards", partition, 0, b"0", value, (), 0)


def november() -> CloseRequested:
    month = Period.month("2025-11", "UTC")
    return CloseRequested(
        close_id=str(uuid4()),
        tenant_id=TENANT,
        period=month.name,
        zone=month.zone,
        starts_at=month.starts_at,
        ends_at=month.ends_at,
        requested_at=month.ends_at + timedelta(days=1),
    )


async def asked(pool: Pool) -> CloseRequested:
    request = november()
    async with transaction(pool) as tx:
        await closes.save_request(tx, request, None)
    return request


async def close(pool: Pool, closing: Closing, request: CloseRequested) -> PeriodClosed | None:
    async with transaction(pool) as tx:
        return await closing.close(tx, request)


async def someone_waits(pool: Pool) -> None:
    """Wait until somebody waits for an advisory lock of this database."""

    async def waits() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database()))"
            )
        )

    await eventually(waits, "somebody waits at the fence")


@asynccontextmanager
async def uncommitted(pool: Pool) -> AsyncIterator[Tx]:
    async with transaction(pool) as tx:
        yield tx


async def test_a_close_waits_for_a_batch_that_is_not_committed_and_holds_it(
    pool: Pool, closing: Closing, owner: ShardOwner
) -> None:
    request = await asked(pool)
    async with uncommitted(pool) as batch:
        await owner.take(batch, [record(5)])
        waiting = asyncio.create_task(close(pool, closing, request))
        await someone_waits(pool)
    closed = await waiting
    assert closed is not None
    assert closed.totals == {"ingest_events": 5}


async def test_a_batch_waits_for_a_close_that_is_not_committed_and_finds_it_closed(
    pool: Pool, closing: Closing, owner: ShardOwner
) -> None:
    request = await asked(pool)

    async def count() -> None:
        async with transaction(pool) as tx:
            await owner.take(tx, [record(5)])

    async with uncommitted(pool) as freezing:
        closed = await closing.close(freezing, request)
        waiting = asyncio.create_task(count())
        await someone_waits(pool)
    await waiting
    assert closed is not None
    assert closed.totals == {}
    assert await pool.fetchval("SELECT sum(value) FROM usage_adjustment") == 5
    assert await pool.fetchval("SELECT count(*) FROM usage_window") == 0


async def test_two_closers_close_a_period_once(pool: Pool, closing: Closing) -> None:
    request = await asked(pool)
    both = await asyncio.gather(close(pool, closing, request), close(pool, closing, request))
    assert [one is None for one in both].count(True) == 1


async def test_no_statement_adds_to_a_frozen_window(pool: Pool, closing: Closing, owner: ShardOwner) -> None:
    async with transaction(pool) as tx:
        await owner.take(tx, [record(5)])
    await close(pool, closing, await asked(pool))
    with pytest.raises(FrozenWindowTouched):
        async with transaction(pool) as tx:
            await windows.add(tx, {(ALICE, "ingest_events", NOON_US): 1})
    assert await pool.fetchval("SELECT value FROM usage_window") == 5


async def test_a_close_waits_until_what_was_acknowledged_before_is_counted(
    pool: Pool, broker: MemoryBus, clock: ManualClock, closing: Closing, owner: ShardOwner
) -> None:
    reading = Reading(broker, pool, clock)
    closer = Closer(reading, pool, closing, Awaited(reading))
    await broker.publisher.publish([Message("usage-shards", b"0", record(5).value, (), 3)])
    request = await asked(pool)
    await closer.turn()
    assert await pool.fetchval("SELECT count(*) FROM period_close") == 0

    async def closed() -> bool:
        await closer.turn()
        return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM period_close)"))

    async with at_work(shard_consumer(broker, pool, "0", owner).run()):
        await eventually(closed, "the period is closed once the record is counted")
    async with transaction(pool) as tx:
        said = await closes.said_of(tx, TENANT, request.period)
    assert said is not None
    assert said.totals == {"ingest_events": 5}


async def test_a_window_counts_as_told_only_once_the_broker_has_it(
    pool: Pool, broker: MemoryBus, clock: ManualClock, owner: ShardOwner
) -> None:
    publishing = Publishing(broker, pool, clock, "local-1")
    async with transaction(pool) as tx:
        await owner.take(tx, [record(5)])
    broker.down = True
    with pytest.raises(Unavailable):
        await publishing.turn(Watermarks({0: NOON}, 1))
    broker.down = False
    assert await publishing.turn(Watermarks({0: NOON}, 1)) == 1
    assert await publishing.turn(Watermarks({0: NOON}, 1)) == 0
    assert len(broker.records("usage-windows")) == 1
