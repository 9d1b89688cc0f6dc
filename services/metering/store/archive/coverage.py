"""How far the archive covers what is counted, and where an event can lie in it: what an explanation needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.store.pool import Tx
from services.metering.domain.archiving import ArchiveFile
from services.metering.store.archive.reading import Below, Scope, SetAside


@dataclass(frozen=True, slots=True)
class Reach:
    """How far one partition is counted, and archived in published files; when the broker appended the last of those."""

    topic_id: UUID
    partition: int
    counted_to: int
    archived_to: int
    archived_at_ms: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every partition's reach, and the records that were set aside."""

    reaches: Sequence[Reach]
    left_out: Sequence[SetAside]

    def scope(self, tenant_id: str) -> Scope:
        """Return the tenant's occurrences that were counted and are archived."""
        below = [Below(str(one.topic_id), one.partition, min(one.counted_to, one.archived_to)) for one in self.reaches]
        return Scope(tenant_id, below, self.left_out)


@dataclass(frozen=True, slots=True)
class Aside:
    """A record that was set aside and is archived all the same: why, and in which file of the bucket it lies."""

    spot: SetAside
    reason: str
    file: ArchiveFile


async def coverage(tx: Tx, counting: str, archiving: str) -> Coverage:
    """Return how far the consumers of these names are. Ask for files after it: of what is later they may hold more."""
    reaches = [Reach(**dict(row)) for row in await tx.fetch(_REACHES, counting, archiving)]
    left_out = [
        SetAside(str(row["topic_id"]), row["partition"], row["record_offset"])
        for row in await tx.fetch(_LEFT_OUT, counting)
    ]
    return Coverage(reaches, left_out)


async def aside(tx: Tx, counting: str, tenant_hash: int, limit: int) -> list[Aside]:
    """Return where in files of the bucket records lie that `counting` set aside, the newest `limit` of them."""
    rows = await tx.fetch(_ASIDE, counting, tenant_hash, limit)
    return [
        Aside(
            SetAside(str(row["topic_id"]), row["partition"], row["record_offset"]),
            row["reason"],
            ArchiveFile(
                row["day"], row["tenant_hash"], row["name"], row["event_count"], row["size_bytes"], row["sha256"]
            ),
        )
        for row in rows
    ]


# What a lot covers that waits to be published is not archived yet.
_REACHES: Final = """
SELECT counting.topic_id, counting.partition, counting.next AS counted_to,
  coalesce(
    (SELECT min(start_offset) FROM archive_range JOIN archive_lot USING (lot_id)
     WHERE published_at IS NULL AND topic_id = counting.topic_id AND partition = counting.partition),
    (SELECT end_offset FROM archive_range WHERE topic_id = counting.topic_id AND partition = counting.partition
     ORDER BY start_offset DESC LIMIT 1), 0) AS archived_to,
  coalesce(archiving.appended_at_ms, 0) AS archived_at_ms
FROM consumer_offset AS counting
LEFT JOIN consumer_offset AS archiving ON archiving.consumer = $2 AND archiving.topic_id = counting.topic_id
  AND archiving.partition = counting.partition
WHERE counting.consumer = $1 ORDER BY counting.topic_id, counting.partition
"""
_LEFT_OUT: Final = "SELECT topic_id, partition, record_offset FROM dead_letter WHERE consumer = $1"
_ASIDE: Final = """
SELECT letter.topic_id, letter.partition, letter.record_offset, letter.reason, day, tenant_hash, name, event_count,
  size_bytes, sha256
FROM (SELECT topic_id, partition, record_offset, reason FROM dead_letter WHERE consumer = $1
  ORDER BY record_offset DESC LIMIT $3) AS letter
JOIN archive_range AS range ON range.topic_id = letter.topic_id AND range.partition = letter.partition
  AND range.start_offset <= letter.record_offset AND range.end_offset > letter.record_offset
JOIN archive_file AS file ON file.lot_id = range.lot_id AND file.tenant_hash = $2
JOIN archive_lot AS lot ON lot.lot_id = range.lot_id AND lot.published_at IS NOT NULL
"""
