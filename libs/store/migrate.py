"""Forward-only migrations: numbered SQL files, each applied once, in one transaction, and never changed afterwards.

Expand, then contract: this version's files are applied while processes of the version before serve, and may start anew.
So a file adds what the code needs and takes nothing that the version before uses; what no version uses any more goes in
a later one. Code that meets a schema with newer files than its own starts; code whose own files are gone does not.

A file names the login roles of its database as `:"api"` and `:"worker"`, as psql names its variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from libs.runtime.errors import Broken
from libs.signing.digests import sha256_hex
from libs.store.pool import Pool, Tx
from libs.store.roles import Role

STORE_MIGRATIONS: Final = Path(__file__).parent / "migrations"
FILE_NAME: Final = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_LOCK: Final = 0x6D61_6573_7472_6F01  # "maestro" and 1: one migrator per database at a time
_WAIT_S: Final = 300  # for another process that is migrating, and for one migration to run


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `folder` is what owns it, such as `libs/bus` or `services/metering`."""

    folder: str
    name: str
    sql: str
    sha256: str


def owner_of(folder: Path) -> str:
    """Return the two path parts above `migrations`, the namespace of its files: `services/metering`."""
    return "/".join(folder.resolve().parts[-3:-1])


def read_folder(folder: Path) -> list[Migration]:
    """Return the migrations of `folder` in order; raise Broken for a bad or repeated number."""
    if not folder.is_dir():
        raise Broken(f"there is no folder of migrations at {folder}")
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        if FILE_NAME.fullmatch(path.name) is None:
            raise Broken(f"{path}: a migration is called NNNN_<verb>_<noun>.sql")
        if found and found[-1].name[:4] == path.name[:4]:
            raise Broken(f"{path}: the number {path.name[:4]} is taken by {found[-1].name}")
        content = path.read_bytes()
        found.append(Migration(owner_of(folder), path.name, content.decode("utf-8"), sha256_hex(content)))
    return found


def pending(files: Sequence[Migration], applied: Sequence[tuple[str, str]]) -> list[Migration]:
    """Return what of one folder is still to be applied, given its (name, sha256) rows in order.

    One that a newer version applied, numbered above all of these, is left alone. Raises Broken, naming the file, where
    one of ours is missing or changed after it was applied, or a new one is numbered below an applied one.
    """
    known = {one.name: one for one in files}
    newest = max(known, default="")
    for name, sha256 in applied:
        if name > newest:
            continue
        if name not in known:
            raise Broken(f"migration {name} was applied to this database and its file is missing")
        if known[name].sha256 != sha256:
            raise Broken(f"{known[name].folder}/migrations/{name} was changed after it was applied: add a new file")
    done = {name for name, _ in applied}
    fresh = [one for one in files if one.name not in done]
    if done and fresh and fresh[0].name < max(done):
        raise Broken(f"{fresh[0].folder}/migrations/{fresh[0].name} is numbered below {max(done)}, already applied")
    return fresh


async def migrate(pool: Pool, folders: Iterable[Path]) -> list[str]:
    """Apply what is pending of `folders`, in the order given, and return the names applied. Processes may race."""
    folders = list(folders)
    async with pool.acquire() as connection:
        await connection.execute(_CAREFUL)
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=_WAIT_S)
        try:
            await connection.execute(_TABLE)
            names: list[str] = []
            for folder in folders:
                names += await _apply_folder(connection, folder)
            return names
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _apply_folder(connection: Tx, folder: Path) -> list[str]:
    rows = await connection.fetch(
        "SELECT name, sha256 FROM schema_migration WHERE folder = $1 ORDER BY name", owner_of(folder)
    )
    fresh = pending(read_folder(folder), [(row["name"], row["sha256"]) for row in rows])
    for one in fresh:
        try:
            await _apply(connection, one)
        except (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise Broken(f"{one.folder}/migrations/{one.name} cannot be applied: {error}") from error
    return [f"{one.folder}/{one.name}" for one in fresh]


async def _apply(connection: Tx, one: Migration) -> None:
    async with connection.transaction():
        await connection.execute(await _with_roles(connection, one.sql), timeout=_WAIT_S)
        await connection.execute(
            "INSERT INTO schema_migration (folder, name, sha256) VALUES ($1, $2, $3)", one.folder, one.name, one.sha256
        )


async def _with_roles(connection: Tx, sql: str) -> str:
    database = await connection.fetchval("SELECT current_database()")
    for role in Role:
        quoted = role.of(database).replace('"', '""')
        sql = sql.replace(f':"{role.value}"', f'"{quoted}"')
    return sql


# Row security off: a statement that a policy would keep rows from fails, instead of leaving them out without a word.
_CAREFUL: Final = f"""
SET lock_timeout = '{_WAIT_S}s'; SET statement_timeout = '{_WAIT_S}s'; SET row_security = off
"""
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migration (
  folder text NOT NULL,
  name text NOT NULL,
  sha256 text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (folder, name)
)
"""
