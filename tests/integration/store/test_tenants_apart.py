"""Tenants whose requests take turns on one connection never meet, however these requests end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from libs.runtime.errors import Broken, Unavailable
from libs.store.opening import Pools, across_tenants, opened
from libs.store.pool import Pool, Tx, open_pool, transaction
from libs.store.roles import Role, database_of
from tests.support.stores import Address, as_owner, pools_on

TENANTS = tuple(f"tnt_{letter * 20}" for letter in "abc")
THINGS = """
CREATE TABLE thing (tenant_id text NOT NULL, n int NOT NULL);
CALL confine_to_tenant('thing');
GRANT SELECT, INSERT, UPDATE, DELETE ON thing TO :"api", :"worker"
"""
SEED, TURNS = 20_261_124, 300


@pytest.fixture
async def pools(dsn: str) -> AsyncIterator[Pools]:
    """A database with a row of each tenant."""
    async with pools_on(dsn) as made:
        await as_owner(dsn, THINGS)
        await made.worker.executemany("INSERT INTO thing VALUES ($1, 0)", [(tenant,) for tenant in TENANTS])
        yield made


@pytest.fixture
async def lone(pools: Pools, dsn: str) -> AsyncIterator[Pool]:
    """A pool of one connection with the role of `pools.api`."""
    assert pools.api.get_size() > 0
    async with await open_pool(Address(dsn), Role.API, name="test", max_size=1) as pool:
        yield pool


async def seen(tx: Tx) -> set[str]:
    return {row["tenant_id"] for row in await tx.fetch("SELECT tenant_id FROM thing")}


async def ends_well(tx: Tx, _tenant: str) -> None:
    await tx.execute("UPDATE thing SET n = n + 1")


async def violates(tx: Tx, tenant: str) -> None:
    await tx.execute("INSERT INTO thing VALUES ($1, NULL)", tenant)


async def raises(tx: Tx, _tenant: str) -> None:
    await tx.execute("DELETE FROM thing")
    raise ZeroDivisionError


async def hangs(tx: Tx, _tenant: str) -> None:
    await tx.execute("DELETE FROM thing")
    await tx.execute("SELECT pg_sleep(60)")


async def loses_the_connection(tx: Tx, _tenant: str) -> None:
    await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def rolls_back_a_part(tx: Tx, tenant: str) -> None:
    part = tx.transaction()
    await part.start()
    await tx.execute("SELECT set_config('maestro.tenant', $1, true)", TENANTS[0])
    await part.rollback()
    assert await seen(tx) == {tenant}


WAYS_TO_END = (ends_well, violates, raises, hangs, loses_the_connection, rolls_back_a_part)
EXPECTED = (asyncpg.NotNullViolationError, ZeroDivisionError, TimeoutError, Unavailable)


async def test_one_connection_serves_tenants_in_turn_and_none_ever_sees_another(lone: Pool, pools: Pools) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a seed, so that a failure can be repeated
    turns = [(chance.choice(TENANTS), chance.choice(WAYS_TO_END)) for _ in range(TURNS)]
    updates = dict.fromkeys(TENANTS, 0)

    async def request(tenant: str, end: object) -> None:
        async with asyncio.timeout(0.05 if end is hangs else 30):
            async with transaction(lone, tenant=tenant) as tx:
                assert await seen(tx) == {tenant}
                await end(tx, tenant)  # type: ignore[operator]
                assert await seen(tx) == {tenant}

    async def turn(tenant: str, end: object) -> None:
        try:
            await request(tenant, end)
        except EXPECTED:
            return
        updates[tenant] += end is ends_well

    for start in range(0, TURNS, 4):  # four at once wait for the one connection
        await asyncio.gather(*(turn(tenant, end) for tenant, end in turns[start : start + 4]))
        async with transaction(lone) as tx:
            assert await seen(tx) == set(), "a transaction that was opened for nobody"
            assert not await tx.fetchval("SELECT current_setting('maestro.tenant', true)")

    kept = await pools.worker.fetch("SELECT tenant_id, n FROM thing")
    assert {row["tenant_id"]: row["n"] for row in kept} == updates


async def test_a_request_that_is_cancelled_leaves_its_tenant_behind(lone: Pool) -> None:
    begun = asyncio.Event()

    async def stuck() -> None:
        async with transaction(lone, tenant=TENANTS[0]) as tx:
            begun.set()
            await tx.execute("SELECT pg_sleep(60)")

    task = asyncio.create_task(stuck())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])

    async with transaction(lone) as tx:
        assert await seen(tx) == set()


async def test_a_row_of_another_tenant_can_be_neither_written_nor_given_away(lone: Pool) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await _run(lone, "INSERT INTO thing VALUES ($1, 1)", TENANTS[1])
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await _run(lone, "UPDATE thing SET tenant_id = $1", TENANTS[1])


async def _run(pool: Pool, statement: str, *values: object) -> None:
    async with transaction(pool, tenant=TENANTS[0]) as tx:
        await tx.execute(statement, *values)


@pytest.mark.parametrize("tenant", ["", "tnt_unknown", "%", "' OR true --"])
async def test_a_name_that_is_no_tenants_sees_nothing(lone: Pool, tenant: str) -> None:
    async with transaction(lone, tenant=tenant) as tx:
        assert await seen(tx) == set()


async def test_who_reads_across_tenants_says_so_in_the_log_and_cannot_write(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with across_tenants(pools, actor="an-operator", purpose="things are listed") as tx:
        assert await seen(tx) == set(TENANTS)

        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await tx.execute("DELETE FROM thing")

    [line] = [record for record in caplog.records if record.name == "libs.store.opening"]
    assert (line.getMessage(), vars(line)["actor"]) == ("across tenants: things are listed", "an-operator")


async def test_a_migration_that_would_miss_rows_fails_instead(dsn: str, pools: Pools, tmp_path: Path) -> None:
    folder = tmp_path / "services" / "x" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_change_things.sql").write_text("UPDATE thing SET n = 7")

    with pytest.raises(Broken, match="row-level security"):
        async with opened(Address(dsn), [folder], name="test"):
            pass

    assert await pools.worker.fetchval("SELECT max(n) FROM thing") == 0


async def test_the_owner_is_gone_once_its_migrations_are_applied(dsn: str) -> None:
    async with opened(Address(dsn), [], name="test") as pools:
        found = await pools.worker.fetch("SELECT usename FROM pg_stat_activity WHERE datname = current_database()")

    assert Role.OWNER.of(database_of(dsn)) not in {row["usename"] for row in found}
