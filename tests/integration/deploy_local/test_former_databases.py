"""A database of the time when a service had one role is handed over as it is, rows and all, and then confined."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local.errors import PartFailed
from deploy.local.provision import Tenure, dsn_for, provision
from libs.bus.offsets import BUS_MIGRATIONS
from libs.store.migrate import STORE_MIGRATIONS, migrate
from libs.store.opening import opened
from libs.store.pool import transaction
from libs.store.roles import Role, database_of
from services.quota.store import MIGRATIONS
from tests.support.bus import fresh_name
from tests.support.catalogue import complaints
from tests.support.stack import ROLE_PASSWORD, drop_databases, in_own_loop
from tests.support.stores import Address

FOLDERS = {BUS_MIGRATIONS: "0003", STORE_MIGRATIONS: "0003", MIGRATIONS: "0002"}  # the last file of the former schema
MINE, OTHERS = "tnt_" + "a" * 20, "tnt_" + "b" * 20
ROWS = f"""
INSERT INTO storage_gauge VALUES ('{MINE}', 5, 1, now(), 1), ('{OTHERS}', 7, 1, now(), 1);
INSERT INTO idempotency_key (principal, route, key, body_sha256) VALUES ('p', 'r', 'k', repeat('0', 64))
"""  # noqa: S608 - our own constants


@pytest.fixture(params=["superuser", "administrator"])
def admin_dsn(request: pytest.FixtureRequest, postgres: str) -> Iterator[str]:
    """Who provides: the superuser, or one who may only create roles and databases, as on a server of yours."""
    if request.param == "superuser":
        yield postgres
        return
    login = fresh_name("administrator").replace("-", "_")
    in_own_loop(_run(postgres, f"CREATE ROLE {login} LOGIN CREATEDB CREATEROLE PASSWORD '{ROLE_PASSWORD}'"))
    in_own_loop(_run(postgres, f"CREATE DATABASE {login} OWNER {login}"))
    yield dsn_for(postgres, login).replace("://", f"://{login}:{ROLE_PASSWORD}@")
    in_own_loop(_run(postgres, f"DROP DATABASE {login}"))
    in_own_loop(_run(postgres, f"DROP ROLE {login}"))


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


@pytest.fixture
def name(postgres: str, admin_dsn: str) -> Iterator[str]:
    """A role and a database of one name, as set-up made them before."""
    made = fresh_name("former").replace("-", "_")
    in_own_loop(_make_former(admin_dsn, made))
    yield made
    in_own_loop(drop_databases(postgres, [made]))
    in_own_loop(_run(postgres, f"DROP ROLE IF EXISTS {made}"))


async def _make_former(admin_dsn: str, name: str) -> None:
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{ROLE_PASSWORD}'")
    await admin.execute(f"GRANT {name} TO CURRENT_USER")
    await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
    await admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    await admin.close()


@pytest.fixture
async def former(postgres: str, name: str, tmp_path: Path) -> str:
    """Its DSN, once it holds the former schema and rows."""
    dsn = dsn_for(postgres, name)
    async with asyncpg.create_pool(dsn, user=name, password=ROLE_PASSWORD, min_size=1) as pool:
        await migrate(pool, [_until(folder, last, tmp_path) for folder, last in FOLDERS.items()])
        await pool.execute(ROWS)
    return dsn


def _until(folder: Path, last: str, tmp_path: Path) -> Path:
    """A copy of a folder of migrations without the files that came after."""
    copy = tmp_path.joinpath(*folder.parts[-3:])
    copy.mkdir(parents=True)
    for file in sorted(folder.glob("*.sql")):
        if file.name[:4] <= last:
            shutil.copy(file, copy)
    return copy


def _tenure(name: str) -> Tenure:
    return Tenure(name, dict.fromkeys(Role, ROLE_PASSWORD))


async def test_a_former_database_keeps_its_rows_and_keeps_its_tenants_apart(admin_dsn: str, former: str) -> None:
    name = database_of(former)

    await provision(admin_dsn, [_tenure(name)])
    await provision(admin_dsn, [_tenure(name)])

    address = Address(former.replace("://", f"://:{ROLE_PASSWORD}@"))
    async with opened(address, list(FOLDERS), name="test") as pools:
        async with transaction(pools.api, tenant=MINE) as tx:
            assert [row["bytes"] for row in await tx.fetch("SELECT bytes FROM storage_gauge")] == [5]
        async with transaction(pools.worker) as tx:
            assert await tx.fetchval("SELECT sum(bytes) FROM storage_gauge") == 12
            assert await tx.fetchval("SELECT count(*) FROM idempotency_key") == 1
            assert await complaints(tx) == []


async def test_the_former_role_is_gone_and_owns_nothing(admin_dsn: str, postgres: str, former: str) -> None:
    name = database_of(former)

    await provision(admin_dsn, [_tenure(name)])

    admin = await asyncpg.connect(postgres, database=name)
    owners = await admin.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    left = await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name)
    await admin.close()
    assert ([row[0] for row in owners], left) == ([Role.OWNER.of(name)], 0)


async def test_a_database_of_somebody_else_is_left_alone_and_named(admin_dsn: str, postgres: str, name: str) -> None:
    await _run(postgres, f"ALTER DATABASE {name} OWNER TO maestro")
    await _run(postgres, f"DROP ROLE {name}")

    with pytest.raises(PartFailed, match=f"the database {name} belongs to maestro, not to {name}_owner"):
        await asyncio.wait_for(provision(admin_dsn, [_tenure(name)]), 30)
