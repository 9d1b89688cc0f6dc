"""The manifest of the archive: which lots there are, which offsets they cover, which files they are made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from asyncpg import Record

from libs.store.pool import Tx
from services.metering.domain.archiving import ArchiveFile, OffsetRange
from services.metering.errors import ArchivedBefore


@dataclass(frozen=True, slots=True)
class Lot:
    """What one commit of the archiver covers; its files lie below `staging/<staged_in>` until published."""

    lot_id: UUID
    staged_in: str
    files: Sequence[ArchiveFile]


async def add(tx: Tx, lot: Lot, ranges: Sequence[OffsetRange]) -> None:
    """Add a lot that is staged, once the offsets are moved; raise ArchivedBefore where some were archived."""
    columns = (
        [one.topic_id for one in ranges],
        [one.partition for one in ranges],
        [one.start for one in ranges],
        [one.end for one in ranges],
    )
    again = await tx.fetchrow(_OVERLAP, *columns)
    if again is not None:
        raise ArchivedBefore(
            f"offset {again['start']} of partition {again['partition']} lies before {again['archived_to']}, up to "
            "which the archive holds it: set the offset there"
        )
    await tx.execute(_ADD_LOT, lot.lot_id, lot.staged_in)
    await tx.execute(_ADD_RANGES, *columns, [one.first_appended_at_ms for one in ranges], lot.lot_id)
    await tx.execute(
        _ADD_FILES,
        [one.day for one in lot.files],
        [one.tenant_hash for one in lot.files],
        [one.name for one in lot.files],
        [one.event_count for one in lot.files],
        [one.size_bytes for one in lot.files],
        [one.sha256 for one in lot.files],
        lot.lot_id,
    )


async def unpublished(tx: Tx) -> list[Lot]:
    """Return the lots that are not known to be published, oldest first."""
    lots = await tx.fetch(_UNPUBLISHED)
    return [
        Lot(lot["lot_id"], lot["staged_in"], [_file(row) for row in await tx.fetch(_FILES_OF, lot["lot_id"])])
        for lot in lots
    ]


async def mark_published(tx: Tx, lot_id: UUID) -> None:
    """Note that all files of the lot lie where readers find them."""
    await tx.execute("UPDATE archive_lot SET published_at = now() WHERE lot_id = $1 AND published_at IS NULL", lot_id)


async def unknown(tx: Tx, places: Collection[str]) -> list[str]:
    """Return those of the places at which the manifest knows no file."""
    return [row["place"] for row in await tx.fetch(_UNKNOWN, sorted(places))]


def _file(row: Record) -> ArchiveFile:
    return ArchiveFile(
        row["day"], row["tenant_hash"], row["name"], row["event_count"], row["size_bytes"], row["sha256"]
    )


# Ranges of a partition never overlap, so the last that begins before the end of a new one tells.
_OVERLAP: Final = """
SELECT given.partition, given.start, before.end_offset AS archived_to
FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bigint[]) AS given (topic_id, partition, start, "end")
CROSS JOIN LATERAL (
  SELECT end_offset FROM archive_range
  WHERE topic_id = given.topic_id AND partition = given.partition AND start_offset < given."end"
  ORDER BY start_offset DESC LIMIT 1) AS before
WHERE before.end_offset > given.start LIMIT 1
"""
_ADD_LOT: Final = "INSERT INTO archive_lot (lot_id, staged_in) VALUES ($1, $2)"
_ADD_RANGES: Final = """
INSERT INTO archive_range (topic_id, partition, start_offset, end_offset, first_appended_at_ms, lot_id)
SELECT given.*, $6 FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[]) AS given
"""
_ADD_FILES: Final = """
INSERT INTO archive_file (day, tenant_hash, name, event_count, size_bytes, sha256, lot_id)
SELECT given.*, $7 FROM unnest($1::date[], $2::smallint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[]) AS given
"""
_UNPUBLISHED: Final = "SELECT lot_id, staged_in FROM archive_lot WHERE published_at IS NULL ORDER BY kept_at, lot_id"
_FILES_OF: Final = """
SELECT day, tenant_hash, name, event_count, size_bytes, sha256 FROM archive_file WHERE lot_id = $1
ORDER BY day, tenant_hash, name
"""
_UNKNOWN: Final = """
SELECT place FROM unnest($1::text[]) AS found (place)
WHERE NOT EXISTS (
  SELECT FROM archive_file
  WHERE day = substring(place FROM '^day=([0-9-]{10})/')::date
    AND tenant_hash = substring(place FROM '/tenant_hash=([0-9]+)/')::smallint
    AND name = substring(place FROM '[^/]+$'))
"""
