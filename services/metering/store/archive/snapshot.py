"""Live totals and the archive's manifest at one instant: what a recomputation is held against."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID

from libs.schemas.values import from_microseconds, microseconds
from libs.store.pool import Tx
from services.metering.domain.archiving import ArchiveFile
from services.metering.domain.correcting import Last
from services.metering.store.archive.reading import SetAside

Window = tuple[str, int]
"""(metric, start in microseconds since 1970)."""


@dataclass(frozen=True, slots=True)
class Covered:
    """How far a partition is counted and archived (published, without a gap since `gap_ended_at_ms`).

    `gap_ended_at_ms` says when the first record was appended from which on all are archived; None where none lacks.
    """

    topic_id: UUID
    partition: int
    counted_to: int
    counted_at_ms: int
    archived_to: int
    archived_at_ms: int
    gap_ended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it. `settled_to_us` says by gauge up to when its windows are what its samples say.

    `corrected` says by key and time what the last corrections of events say.
    """

    totals: Mapping[Window, Decimal]
    settled_to_us: Mapping[str, int]
    covered: Sequence[Covered]
    left_out: Sequence[SetAside]
    corrected: Mapping[tuple[bytes, int], Last] = field(default_factory=dict)


async def hold_still(tx: Tx) -> None:
    """Have all that `tx` reads be of one instant; the first statement in it."""
    await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


async def look(
    tx: Tx, tenant_id: str, metrics: Collection[str], span_us: tuple[int, int], consumers: tuple[str, str]
) -> Snapshot:
    """Return what is counted of the tenant within [start, end), adjustments included, and how far both consumers are.

    `consumers` are the one that counts and the one that archives.
    """
    start, end = (from_microseconds(moment_us) for moment_us in span_us)
    totals = await tx.fetch(_TOTALS, tenant_id, list(metrics), start, end)
    gauges = await tx.fetch(_GAUGES, tenant_id, list(metrics))
    left_out = await tx.fetch(_LEFT_OUT, consumers[0])
    return Snapshot(
        {(row["metric"], microseconds(row["window_start"])): row["total"] for row in totals},
        {row["metric"]: row["settled_to_us"] for row in gauges},
        await covered(tx, consumers),
        [SetAside(str(row["topic_id"]), row["partition"], row["record_offset"]) for row in left_out],
    )


async def covered(tx: Tx, consumers: tuple[str, str]) -> list[Covered]:
    """Return how far each partition is counted by the first of the consumers, and archived by the second."""
    return [Covered(**dict(row)) for row in await tx.fetch(_COVERED, *consumers)]


async def files_of(tx: Tx, tenant_hash: int, first: date, last: date) -> list[ArchiveFile]:
    """Return the published files of a bucket, of the days `first` to `last`."""
    rows = await tx.fetch(_FILES, tenant_hash, first, last)
    return [ArchiveFile(**dict(row)) for row in rows]


_TOTALS: Final = """
SELECT metric, window_start, sum(value) AS total FROM (
  SELECT metric, window_start, value FROM usage_window
  WHERE tenant_id = $1 AND metric = ANY($2::text[]) AND window_start >= $3 AND window_start < $4
  UNION ALL
  SELECT metric, window_start, value FROM usage_adjustment
  WHERE tenant_id = $1 AND metric = ANY($2::text[]) AND window_start >= $3 AND window_start < $4) AS live
GROUP BY metric, window_start
"""
_GAUGES: Final = """
SELECT metric, least(integrated_to_us, dirty_from_us) AS settled_to_us FROM gauge
WHERE tenant_id = $1 AND metric = ANY($2::text[])
"""
# What a lot covers that waits to be published is not archived yet. A range that does not begin where the one before
# ended, or the first at 0, ended a gap.
_COVERED: Final = """
WITH ordered AS (
  SELECT topic_id, partition, start_offset, end_offset, first_appended_at_ms, published_at IS NOT NULL AS is_published,
    start_offset <> coalesce(lag(end_offset) OVER (PARTITION BY topic_id, partition ORDER BY start_offset), 0) AS is_gap
  FROM archive_range JOIN archive_lot USING (lot_id)),
archived AS (
  SELECT topic_id, partition, max(end_offset) AS reached,
    min(start_offset) FILTER (WHERE NOT is_published) AS waiting_from,
    max(first_appended_at_ms) FILTER (WHERE is_gap) AS gap_ended_at_ms
  FROM ordered GROUP BY topic_id, partition)
SELECT counting.topic_id, counting.partition, counting.next AS counted_to,
  coalesce(counting.appended_at_ms, 0) AS counted_at_ms, coalesce(waiting_from, reached, 0) AS archived_to,
  coalesce(archiving.appended_at_ms, 0) AS archived_at_ms, gap_ended_at_ms
FROM consumer_offset AS counting LEFT JOIN archived USING (topic_id, partition)
LEFT JOIN consumer_offset AS archiving ON archiving.consumer = $2 AND archiving.topic_id = counting.topic_id
  AND archiving.partition = counting.partition
WHERE counting.consumer = $1 ORDER BY counting.topic_id, counting.partition
"""
_LEFT_OUT: Final = """
SELECT topic_id, partition, record_offset FROM dead_letter WHERE consumer = $1
ORDER BY topic_id, partition, record_offset
"""
_FILES: Final = """
SELECT day, tenant_hash, name, event_count, size_bytes, sha256 FROM archive_file JOIN archive_lot USING (lot_id)
WHERE tenant_hash = $1 AND day BETWEEN $2 AND $3 AND published_at IS NOT NULL ORDER BY day, name
"""
