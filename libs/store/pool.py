"""Connections to a service's own database, and the transaction that everything is written in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs.runtime.errors import Broken, Unavailable
from libs.runtime.settings import secret_from
from libs.store.faults import is_transient
from libs.store.roles import Role, database_of, password_file

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Tx: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

CONNECT_TIMEOUT_S: Final = 10.0  # a local socket answers in milliseconds; a starting server within seconds
ACQUIRE_TIMEOUT_S: Final = 10.0  # a caller that waits longer for a connection is better told to come back
STATEMENT_TIMEOUT_MS: Final = 30_000  # no statement of a request or a batch may run longer
LOCK_TIMEOUT_MS: Final = 10_000  # a row held longer is held by a stuck process: give way and try again
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 30_000  # frees the offset rows of a frozen process, so that its heir can go on
COMMAND_TIMEOUT_S: Final = 40.0  # above the server's own limits: only a dead network is cut off here
MAX_CONNECTIONS: Final = 8  # per role and process; the embedded server allows two hundred in all


class PoolSettings(Protocol):
    """The part of a service's settings that says where its database is (`libs.runtime.settings.ServiceSettings`)."""

    @property
    def postgres_url(self) -> str:
        """postgresql://host:port/database, without a login."""
        ...

    @property
    def postgres_secrets_dir(self) -> Path | None:
        """Where the passwords of the database's roles lie, a file each."""
        ...


async def open_pool(
    settings: PoolSettings, role: Role, *, name: str, min_size: int = 1, max_size: int = MAX_CONNECTIONS
) -> Pool:
    """Open a pool of service `name` for what `role` may do.

    Raises Broken where the address is missing or names no database, Unavailable where nobody answers.
    """
    if not settings.postgres_url:
        raise Broken(f"{name} has no database: set MAESTRO_POSTGRES_URL")
    database = database_of(settings.postgres_url)
    if not database:
        raise Broken(f"{name} has no database: MAESTRO_POSTGRES_URL names none after the host")
    login, folder = role.of(database), settings.postgres_secrets_dir
    try:
        return await asyncpg.create_pool(
            settings.postgres_url,
            user=login,
            password=None if folder is None else secret_from(password_file(folder, login)),
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=_server_settings(f"{name}.{role.value}"),
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        if not is_transient(error):
            raise
        raise Unavailable(f"the database of {name} does not answer: {error}") from error


def _server_settings(name: str) -> dict[str, str]:
    return {
        "application_name": f"maestro.{name}",
        "timezone": "UTC",
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "jit": "off",  # our statements are short; compiling them costs more than running them
    }


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Tx]:
    """Lend a connection to the block. Raises Unavailable where the store, the network or a rival stood in the way."""
    try:
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as lent:
            yield lent
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if is_transient(error) or _is_cut_off(error):
            raise Unavailable(f"the store could not finish: {error or type(error).__name__}") from error
        raise


@asynccontextmanager
async def transaction(pool: Pool, *, tenant: str | None = None) -> AsyncIterator[Tx]:
    """Run the block in one read-committed transaction: committed at its end, rolled back if it raises.

    With the API role's pool it sees and writes the rows of `tenant` and no other tenant's; without one, none of any.
    Raises Unavailable as `connection` does. When the connection is lost during COMMIT the outcome is unknown to us:
    callers repeat only what an offset or an idempotency key guards.
    """
    async with connection(pool) as tx, tx.transaction():
        if tenant is not None:
            await tx.execute(_BE_TENANT, tenant)
        yield tx


# Local to the transaction: it is gone with its end, however it ends, and the next one on the connection starts without.
_BE_TENANT: Final = "SELECT set_config('maestro.tenant', $1, true)"


def _is_cut_off(error: BaseException) -> bool:
    # After a loss asyncpg reports whatever we try next as misuse of a connection that is closed, or back in the pool;
    # and where the loss came in the middle of an exchange, as its own protocol being in another state.
    if isinstance(error, asyncpg.InternalClientError):
        return True
    return isinstance(error, asyncpg.InterfaceError) and any(word in str(error) for word in ("clos", "released back"))
