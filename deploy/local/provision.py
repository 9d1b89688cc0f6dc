"""A database and three login roles per service: its owner, its HTTP routes' and its workers'; none enters another's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import asyncpg

from deploy.local.errors import PartFailed
from libs.store.roles import Role

CONNECT_TIMEOUT_S = 10
POWERLESS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
NEW_ROLE = f"CREATE ROLE %I {POWERLESS} LOGIN PASSWORD %L"
KNOWN_ROLE = f"ALTER ROLE %I {POWERLESS} LOGIN PASSWORD %L"
KNOWN_ROLE_BY_OTHERS = "ALTER ROLE %I LOGIN PASSWORD %L"  # who is no superuser may not even name these attributes
SHARED_DATABASES = ("postgres", "template1")  # everybody may connect to these until it is revoked


@dataclass(frozen=True, slots=True)
class Tenure:
    """One database with the passwords of the roles that work on it."""

    name: str
    passwords: Mapping[Role, str]


async def provision(admin_dsn: str, tenures: Sequence[Tenure]) -> None:
    """Create what is missing of the roles and databases, set every password, close each database to other roles.

    A database of the time when a service had one role is handed to its owner, and that role is dropped.

    Args:
        admin_dsn: DSN of a superuser, or of a role that may create roles and databases.
        tenures: what to provide.

    Raises:
        PartFailed: a database of that name belongs to a role that is none of ours.
        OSError, asyncpg.PostgresError: the server refused.
    """
    async with _connected(admin_dsn) as admin:
        is_superuser = await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if is_superuser:  # a statement that fails is logged with its text, and these hold passwords
            await admin.execute("SET log_min_error_statement TO panic")
        for tenure in tenures:
            await _provide_roles(admin, tenure, is_superuser=is_superuser)
            if not is_superuser:  # only a member may hand a database to the role
                await _run(admin, "GRANT %I TO CURRENT_USER", Role.OWNER.of(tenure.name))
            await _provide_database(admin, admin_dsn, tenure.name)


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


async def _provide_roles(admin: asyncpg.Connection, tenure: Tenure, *, is_superuser: bool) -> None:
    for role, secret in tenure.passwords.items():
        login = role.of(tenure.name)
        known = KNOWN_ROLE if is_superuser else KNOWN_ROLE_BY_OTHERS
        await _run(admin, known if await _has_role(admin, login) else NEW_ROLE, login, secret)


async def _provide_database(admin: asyncpg.Connection, admin_dsn: str, name: str) -> None:
    owner = Role.OWNER.of(name)
    found = await admin.fetchval("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", name)
    if found is None:
        await _run(admin, "CREATE DATABASE %I OWNER %I", name, owner)
    elif found == name:
        await _hand_over(admin, dsn_for(admin_dsn, name, keep_login=True), name)
    elif found != owner:
        raise PartFailed(
            f"the database {name} belongs to {found}, not to {owner}",
            fix=f"ALTER DATABASE {name} RENAME TO another name, or ALTER DATABASE {name} OWNER TO {owner}",
        )
    await _close_to_others(admin, name)
    for role in (Role.API, Role.WORKER):
        await _run(admin, "GRANT CONNECT ON DATABASE %I TO %I", name, role.of(name))


async def _hand_over(admin: asyncpg.Connection, dsn: str, former: str) -> None:
    """Make the owner's what the one role of former times owns, and drop that role. It bore the database's name."""
    owner = Role.OWNER.of(former)
    if not await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        await _run(admin, "GRANT %I TO CURRENT_USER", former)
    await _run(admin, "ALTER DATABASE %I OWNER TO %I", former, owner)
    async with _connected(dsn) as inside, inside.transaction():
        await _run(inside, "REASSIGN OWNED BY %I TO %I", former, owner)
        await _run(inside, "DROP OWNED BY %I", former)
        await _run(inside, "DROP ROLE %I", former)


async def _has_role(admin: asyncpg.Connection, login: str) -> bool:
    return bool(await admin.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", login))


async def _close_to_others(admin: asyncpg.Connection, database: str) -> None:
    await _run(admin, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database)


async def _run(admin: asyncpg.Connection, template: str, *names: str) -> None:
    """Run a statement that takes no parameters, its names and literals quoted by the server."""
    await admin.execute(await admin.fetchval("SELECT format($1, VARIADIC $2::text[])", template, list(names)))


def dsn_for(admin_dsn: str, database: str, *, keep_login: bool = False) -> str:
    """The DSN of a database on the server that `admin_dsn` names, without the login unless it is kept.

    A host written as a parameter (a socket folder) stays one; every other parameter of the admin's DSN is kept too.
    """
    parts = urlsplit(admin_dsn)
    place = parts.netloc if keep_login else parts.netloc.rpartition("@")[2]
    query = urlencode([(key, value) for key, values in parse_qs(parts.query).items() for value in values], safe="/")
    return f"postgresql://{place}/{quote(database)}" + (f"?{query}" if query else "")
