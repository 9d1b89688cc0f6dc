"""A database and a login role per service: each owns its own database and can connect to no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import asyncpg

CONNECT_TIMEOUT_S = 10
NEW_ROLE = "CREATE ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS LOGIN PASSWORD %L"
KNOWN_ROLE = "ALTER ROLE %I LOGIN PASSWORD %L"
SHARED_DATABASES = ("postgres", "template1")  # everybody may connect to these until it is revoked


@dataclass(frozen=True, slots=True)
class Tenure:
    """One database with the role that owns it. The name serves both; the password is the role's."""

    name: str
    password: str


async def provision(admin_dsn: str, tenures: Sequence[Tenure]) -> None:
    """Create what is missing of the roles and databases, set every password, close each database to other roles.

    Args:
        admin_dsn: DSN of a superuser, or of a role that may create roles and databases.
        tenures: what to provide.

    Raises:
        OSError, asyncpg.PostgresError: the server refused.
    """
    async with _connected(admin_dsn) as admin:
        is_superuser = await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if is_superuser:  # a statement that fails is logged with its text, and these hold passwords
            await admin.execute("SET log_min_error_statement TO panic")
        for tenure in tenures:
            await _provide(admin, tenure, is_superuser=is_superuser)


async def close_shared_databases(admin_dsn: str) -> None:
    """Take the right to connect to the server's own databases from everybody; for a server that is all ours."""
    async with _connected(admin_dsn) as admin:
        for name in SHARED_DATABASES:
            await _close_to_others(admin, name)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def _provide(admin: asyncpg.Connection, tenure: Tenure, *, is_superuser: bool) -> None:
    name = tenure.name
    known = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
    await _run(admin, KNOWN_ROLE if known else NEW_ROLE, name, tenure.password)
    if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        if not is_superuser:  # only a member may hand a database to the role
            await _run(admin, "GRANT %I TO CURRENT_USER", name)
        await _run(admin, "CREATE DATABASE %I OWNER %I", name, name)
    if is_superuser or await _is_owned_through(admin, name):
        await _close_to_others(admin, name)


async def _is_owned_through(admin: asyncpg.Connection, database: str) -> bool:
    """Whether the administrator acts for the database's owner, as whoever revokes on it must."""
    return bool(
        await admin.fetchval("SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = $1", database)
    )


async def _close_to_others(admin: asyncpg.Connection, database: str) -> None:
    await _run(admin, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database)


async def _run(admin: asyncpg.Connection, template: str, *names: str) -> None:
    """Run a statement that takes no parameters, its names and literals quoted by the server."""
    await admin.execute(await admin.fetchval("SELECT format($1, VARIADIC $2::text[])", template, list(names)))


def dsn_for(admin_dsn: str, tenure: Tenure, *, with_password: bool) -> str:
    """The DSN of a tenure on the server that `admin_dsn` names.

    A host written as a parameter (a socket folder) stays one; every other parameter of the admin's DSN is kept too.
    """
    parts = urlsplit(admin_dsn)
    place = parts.netloc.rpartition("@")[2]
    login = f"{quote(tenure.name)}:{quote(tenure.password, safe='')}" if with_password else quote(tenure.name)
    query = urlencode([(key, value) for key, values in parse_qs(parts.query).items() for value in values], safe="/")
    return f"postgresql://{login}@{place}/{quote(tenure.name)}" + (f"?{query}" if query else "")
