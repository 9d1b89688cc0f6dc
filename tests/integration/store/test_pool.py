from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from libs.runtime.errors import Broken, Unavailable
from libs.store.pool import IDLE_IN_TRANSACTION_TIMEOUT_MS, LOCK_TIMEOUT_MS, Pool, Tx, open_pool, transaction
from libs.store.roles import Role, database_of, password_file
from tests.support.stack import ROLE_PASSWORD
from tests.support.stores import Address


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("application_name", "maestro.test.owner"),
        ("TimeZone", "UTC"),
        ("lock_timeout", f"{LOCK_TIMEOUT_MS // 1000}s"),
        ("idle_in_transaction_session_timeout", f"{IDLE_IN_TRANSACTION_TIMEOUT_MS // 1000}s"),
    ],
)
async def test_every_connection_has_our_settings(setting: str, value: str, pool: Pool) -> None:
    assert await pool.fetchval("SELECT current_setting($1)", setting) == value


async def test_a_block_that_ends_well_is_committed(pool: Pool) -> None:
    await pool.execute("CREATE TABLE t (n int)")

    async with transaction(pool) as tx:
        await tx.execute("INSERT INTO t VALUES (1)")

    assert await pool.fetchval("SELECT count(*) FROM t") == 1


async def test_a_block_that_raises_leaves_nothing(pool: Pool) -> None:
    await pool.execute("CREATE TABLE t (n int)")

    with pytest.raises(ZeroDivisionError):
        await _insert_and_raise(pool, ZeroDivisionError())

    assert await pool.fetchval("SELECT count(*) FROM t") == 0


async def _insert_and_raise(pool: Pool, error: Exception) -> None:
    async with transaction(pool) as tx:
        await tx.execute("INSERT INTO t VALUES (1)")
        raise error


async def test_an_error_of_ours_comes_through_as_it_is(pool: Pool) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await _query(pool, "SELECT * FROM nowhere")


async def _query(pool: Pool, sql: str) -> None:
    async with transaction(pool) as tx:
        await tx.execute(sql)


async def test_a_lost_connection_is_unavailable_and_the_pool_recovers(pool: Pool) -> None:
    with pytest.raises(Unavailable):
        await _query(pool, "SELECT pg_terminate_backend(pg_backend_pid())")

    assert await pool.fetchval("SELECT 1") == 1


async def test_a_row_that_is_held_too_long_is_unavailable(pool: Pool) -> None:
    await pool.execute("CREATE TABLE t (n int)")
    async with transaction(pool) as holder:
        await holder.execute("LOCK TABLE t")

        with pytest.raises(Unavailable, match="lock timeout"):
            await _lock_at_once(pool)


async def _lock_at_once(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await _be_impatient(tx)
        await tx.execute("LOCK TABLE t")


async def _be_impatient(tx: Tx) -> None:
    await tx.execute("SET LOCAL lock_timeout = '20ms'")


async def test_a_store_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="the database of test does not answer"):
        await open_pool(Address("postgresql://127.0.0.1:1/nothing"), Role.API, name="test")


@pytest.mark.parametrize("url", ["", "postgresql://db.internal:5432"])
async def test_a_service_without_an_address_is_told_which_setting_it_lacks(url: str) -> None:
    with pytest.raises(Broken, match="MAESTRO_POSTGRES_URL"):
        await open_pool(Address(url), Role.API, name="test")


@pytest.mark.parametrize("role", Role)
async def test_each_role_has_its_password_in_a_file_of_its_own(role: Role, dsn: str, tmp_path: Path) -> None:
    login = role.of(database_of(dsn))
    password_file(tmp_path, login).write_text(f"{ROLE_PASSWORD}\n")

    opened = await open_pool(Address(dsn.replace(f":{ROLE_PASSWORD}@", ""), tmp_path), role, name="test")

    assert await opened.fetchval("SELECT current_user") == login
    await opened.close()
