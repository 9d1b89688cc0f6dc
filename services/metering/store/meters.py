"""The versions of meters in the store, and its epoch, which grows with each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from asyncpg import Record

from libs.runtime.acts import Act
from libs.store.pool import Tx
from services.metering.domain.meters import Metadata, MeterDocument, MeterSpec
from services.metering.domain.versions import MeterBook, MeterVersion


@dataclass(frozen=True, slots=True)
class Kept:
    """A version, and who made it when and why."""

    version: MeterVersion
    created_at: datetime
    actor: str
    reason: str | None


async def epoch(tx: Tx) -> int:
    """Return the epoch."""
    return int(await tx.fetchval("SELECT epoch FROM meter_epoch"))


async def hold_epoch(tx: Tx) -> None:
    """Let nobody else add versions until `tx` ends."""
    await tx.fetchval("SELECT epoch FROM meter_epoch FOR UPDATE")


async def kept(tx: Tx, name: str | None = None) -> list[Kept]:
    """Return the versions of this meter, or of all, by name and number."""
    return [_kept(row) for row in await tx.fetch(_READ, name)]


async def read(tx: Tx) -> MeterBook:
    """Return all versions."""
    versions = [one.version for one in await kept(tx)]
    return MeterBook(versions, await epoch(tx))


async def follow(tx: Tx, book: MeterBook, found_epoch: int) -> None:
    """Have `book` hold what the store holds, where that moved to another epoch."""
    if book.epoch != found_epoch:
        book.read([one.version for one in await kept(tx)], found_epoch)


async def add(tx: Tx, version: MeterVersion, created_at: datetime, act: Act) -> None:
    """Add a version. The epoch is held."""
    await _insert(tx, [version], created_at, act)
    await tx.execute("UPDATE meter_epoch SET epoch = epoch + 1")


async def install(tx: Tx, versions: Iterable[MeterVersion], created_at: datetime, act: Act) -> None:
    """Add these to a store without any; it stays at its first epoch, for all processes begin with the same."""
    await hold_epoch(tx)
    if not await tx.fetchval("SELECT EXISTS (SELECT FROM meter_version)"):
        await _insert(tx, list(versions), created_at, act)


async def _insert(tx: Tx, versions: Sequence[MeterVersion], created_at: datetime, act: Act) -> None:
    for one in versions:
        spec = one.document.spec.model_dump_json()
        made = (created_at, act.actor, act.request_id, act.reason)
        await tx.execute(_ADD, one.name, one.number, spec, one.is_retired, one.effective_from, *made)


def _kept(row: Record) -> Kept:
    document = MeterDocument(
        kind="Meter",
        metadata=Metadata(name=row["name"], version=row["version"]),
        spec=MeterSpec.model_validate_json(row["spec"]),
    )
    version = MeterVersion(document, row["effective_from"], row["is_retired"])
    return Kept(version, row["created_at"], row["actor"], row["reason"])


_READ: Final = """
SELECT name, version, spec, is_retired, effective_from, created_at, actor, reason FROM meter_version
WHERE $1::text IS NULL OR name = $1 ORDER BY name, version
"""
_ADD: Final = """
INSERT INTO meter_version
  (name, version, spec, is_retired, effective_from, created_at, actor, request_id, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
