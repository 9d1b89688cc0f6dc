"""A service's database in tests, reached as the service reaches it: by its roles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.bus.offsets import BUS_MIGRATIONS
from libs.store.migrate import STORE_MIGRATIONS
from libs.store.opening import Pools, opened
from libs.store.pool import Tx, connection, open_pool
from libs.store.roles import Role, database_of


@dataclass(frozen=True)
class Address:
    """Settings that lead to a test's database; the password of its roles is part of the DSN."""

    postgres_url: str
    postgres_secrets_dir: Path | None = None


@asynccontextmanager
async def pools_on(dsn: str, own: Sequence[Path] = (), *, worker_size: int = 12) -> AsyncIterator[Pools]:
    """Open a database with the tables of the bus, the store and the folders `own`."""
    folders = [BUS_MIGRATIONS, STORE_MIGRATIONS, *own]
    async with opened(Address(dsn), folders, name="test", worker_size=worker_size) as pools:
        yield pools


@asynccontextmanager
async def owner_of(dsn: str) -> AsyncIterator[Tx]:
    """Log in as the owner, who may change tables."""
    async with await open_pool(Address(dsn), Role.OWNER, name="test", max_size=1) as pool, connection(pool) as owner:
        yield owner


def with_roles(dsn: str, sql: str) -> str:
    """Put in the database's roles for `:"api"` and `:"worker"`, as it is done with a migration."""
    for role in Role:
        sql = sql.replace(f':"{role}"', f'"{role.of(database_of(dsn))}"')
    return sql


async def as_owner(dsn: str, sql: str) -> None:
    """Run statements as the owner; `:"api"` and `:"worker"` stand for the roles."""
    async with owner_of(dsn) as owner:
        await owner.execute(with_roles(dsn, sql))
