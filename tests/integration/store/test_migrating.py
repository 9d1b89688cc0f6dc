from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from libs.bus.offsets import BUS_MIGRATIONS
from libs.runtime.errors import Broken
from libs.store.migrate import STORE_MIGRATIONS, migrate
from libs.store.pool import Pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of migrations of a service called `x`."""
    made = tmp_path / "services" / "x" / "migrations"
    made.mkdir(parents=True)
    return made


async def tables(pool: Pool) -> set[str]:
    rows = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows} - {"schema_migration"}


async def test_the_tables_of_bus_and_store_are_made_once(pool: Pool) -> None:
    folders = [BUS_MIGRATIONS, STORE_MIGRATIONS]

    first, second = await migrate(pool, folders), await migrate(pool, folders)

    assert first[0].startswith("libs/bus/0001_")
    assert second == []
    assert {"consumer_offset", "outbox", "relay_lease", "idempotency_key", "store_epoch"} <= await tables(pool)


async def test_processes_that_race_apply_each_file_once(pool: Pool, folder: Path) -> None:
    (folder / "0001_create_a.sql").write_text("SELECT pg_sleep(0.2); CREATE TABLE a (n int)")

    applied = await asyncio.gather(*(migrate(pool, [folder]) for _ in range(4)))

    assert sorted(applied) == [[], [], [], ["services/x/0001_create_a.sql"]]


async def test_a_file_that_fails_leaves_nothing_of_itself_and_names_itself(pool: Pool, folder: Path) -> None:
    (folder / "0001_create_a.sql").write_text("CREATE TABLE a (n int)")
    (folder / "0002_create_b.sql").write_text("CREATE TABLE b (n int); SELECT nonsense")

    with pytest.raises(Broken, match=r"services/x/migrations/0002_create_b\.sql cannot be applied"):
        await migrate(pool, [folder])

    assert await tables(pool) == {"a"}


async def test_a_failed_file_can_be_mended_and_applied(pool: Pool, folder: Path) -> None:
    file = folder / "0001_create_a.sql"
    file.write_text("SELECT nonsense")
    with pytest.raises(Broken):
        await migrate(pool, [folder])

    file.write_text("CREATE TABLE a (n int)")
    await migrate(pool, [folder])

    assert await tables(pool) == {"a"}


async def test_a_file_changed_after_it_was_applied_stops_the_start(pool: Pool, folder: Path) -> None:
    file = folder / "0001_create_a.sql"
    file.write_text("CREATE TABLE a (n int)")
    await migrate(pool, [folder])

    file.write_text("CREATE TABLE a (n bigint)")

    with pytest.raises(Broken, match=r"0001_create_a\.sql was changed after it was applied"):
        await migrate(pool, [folder])


async def test_folders_have_numbers_of_their_own(pool: Pool, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "services" / "y" / "migrations"
    other.mkdir(parents=True)
    (folder / "0001_create_a.sql").write_text("CREATE TABLE a (n int)")
    (other / "0001_create_b.sql").write_text("CREATE TABLE b (n int)")

    await migrate(pool, [folder, other])

    assert await tables(pool) == {"a", "b"}
