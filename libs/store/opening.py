"""A service's database as a process has it: migrated by its owner, then open to the two roles that work on it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from libs.store.migrate import migrate
from libs.store.pool import MAX_CONNECTIONS, Pool, PoolSettings, Tx, open_pool, transaction
from libs.store.roles import Role

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pools:
    """The connections of a process: those of its HTTP routes, and those of its consumers and loops."""

    api: Pool
    worker: Pool


@asynccontextmanager
async def opened(
    settings: PoolSettings, migrations: Sequence[Path], *, name: str, worker_size: int = MAX_CONNECTIONS
) -> AsyncIterator[Pools]:
    """Apply what is pending of `migrations`, then keep the database of service `name` open while the block runs.

    The owner's connection is closed before the others are opened. Raises what `migrate` and `open_pool` raise.
    """
    async with await open_pool(settings, Role.OWNER, name=name, max_size=1) as owner:
        await migrate(owner, migrations)
    async with (
        await open_pool(settings, Role.API, name=name) as api,
        await open_pool(settings, Role.WORKER, name=name, max_size=worker_size) as worker,
    ):
        yield Pools(api, worker)


@asynccontextmanager
async def across_tenants(pools: Pools, *, actor: str, purpose: str, writes: bool = False) -> AsyncIterator[Tx]:
    """Run a request of `actor` (a key id) over the rows of all tenants, and say so in the log.

    The one way of an HTTP request past the rows of a single tenant. It has the worker's role, and cannot write unless
    it says that it `writes`. Whom the caller may see is decided before, and named in the statements themselves.
    """
    _log.info("across tenants: %s", purpose, extra={"actor": actor, "writes": writes})
    async with transaction(pools.worker) as tx:
        if not writes:
            await tx.execute(_ONLY_READ)
        yield tx


_ONLY_READ: Final = "SET TRANSACTION READ ONLY"
