"""Totals by quarter of an hour: added to by batches, read by queries, published when changed, frozen by closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, get_args

from asyncpg import Record
from asyncpg.pgproto.pgproto import UUID

from libs.schemas.events import Metric
from libs.schemas.values import from_microseconds
from libs.store.pool import Tx
from services.metering.domain.calendar import Bucket
from services.metering.domain.closing import WindowRow
from services.metering.domain.events import window_of_us
from services.metering.domain.folding import Adjustment, WindowKey
from services.metering.errors import FrozenWindowTouched

TOLD: Final = frozenset(get_args(Metric))  # what is billed and held to limits; others are for whoever asks
NEVER_TOLD: Final = 2**63 - 1  # as published_seq: no sequence is beyond it


@dataclass(frozen=True, slots=True)
class ChangedWindow:
    """A window whose last change is not known to be published."""

    row: WindowRow
    unit: Literal["1", "By.us"]
    last_gauge: Decimal | None


async def add(tx: Tx, sums: Mapping[WindowKey, int | Decimal]) -> None:
    """Add to these windows, which are open; raise FrozenWindowTouched where one is not."""
    if not sums:
        return
    order = sorted(sums)
    status = await tx.execute(
        _ADD,
        [tenant_id for tenant_id, _, _ in order],
        [metric for _, metric, _ in order],
        [from_microseconds(window_us) for _, _, window_us in order],
        [Decimal(sums[window]) for window in order],
        [None if metric in TOLD else NEVER_TOLD for _, metric, _ in order],
    )
    if status != f"INSERT 0 {len(order)}":
        raise FrozenWindowTouched(f"{status}: expected {len(order)} open windows")


async def adjust(tx: Tx, adjustments: Sequence[Adjustment]) -> None:
    """Keep what came for closed periods."""
    if not adjustments:
        return
    await tx.execute(
        _ADJUST,
        [one.event.tenant_id for one in adjustments],
        [one.metric for one in adjustments],
        [from_microseconds(window_of_us(one.event.time_us)) for one in adjustments],
        [UUID(one.event.key) for one in adjustments],
        [one.closed.close_id for one in adjustments],
        [one.closed.period for one in adjustments],
        [Decimal(one.amount) for one in adjustments],
        [one.event.source for one in adjustments],
        [one.event.id for one in adjustments],
        [one.event.time_us for one in adjustments],
    )


async def changed(tx: Tx, limit: int) -> list[ChangedWindow]:
    """Return at most `limit` windows that changed since they were published."""
    return [ChangedWindow(_row_of(row), row["unit"], row["last_gauge"]) for row in await tx.fetch(_CHANGED, limit)]


async def mark_published(tx: Tx, rows: Sequence[WindowRow]) -> None:
    """Note that these states are published. A window that changed meanwhile stays changed."""
    await tx.execute(
        _PUBLISHED,
        [row.tenant_id for row in rows],
        [row.metric for row in rows],
        [row.window_start for row in rows],
        [row.seq for row in rows],
    )


async def follow_epoch(tx: Tx) -> int:
    """Where the store's epoch was raised, have all open windows published under the new one; return how many."""
    if not await tx.fetchval(_EPOCH_IS_NEW):
        return 0
    status = await tx.execute(_REPUBLISH)
    await tx.execute("UPDATE published_epoch SET epoch = (SELECT epoch FROM store_epoch)")
    return int(status.removeprefix("UPDATE "))


async def freeze(tx: Tx, tenant_id: str, close_id: str, start: datetime, end: datetime) -> list[WindowRow]:
    """Close the tenant's windows of [start, end) that are open, and return those that are told."""
    rows = await tx.fetch(_FREEZE, tenant_id, start, end, close_id)
    return [_row_of(row) for row in rows if row["metric"] in TOLD]


async def totals(tx: Tx, tenant_id: str, metric: str, ranges: Sequence[Bucket]) -> list[Decimal]:
    """Return the total of each range, 0 where there is no usage. Ranges may overlap: each window is read once."""
    rows = await tx.fetch(_TOTALS, tenant_id, metric, [one.start for one in ranges], [one.end for one in ranges])
    return [row["total"] for row in rows]


def _row_of(row: Record) -> WindowRow:
    return WindowRow(
        tenant_id=row["tenant_id"],
        metric=row["metric"],
        window_start=row["window_start"],
        value=row["value"],
        store_epoch=row["store_epoch"],
        seq=row["seq"],
    )


_ADD: Final = """
INSERT INTO usage_window AS mine (tenant_id, metric, window_start, value, store_epoch, seq, published_seq)
SELECT tenant_id, metric, window_start, value, (SELECT epoch FROM store_epoch), 1, published_seq
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::numeric[], $5::bigint[])
  AS added (tenant_id, metric, window_start, value, published_seq)
ON CONFLICT (tenant_id, metric, window_start) DO UPDATE
SET value = mine.value + excluded.value, seq = mine.seq + 1, store_epoch = excluded.store_epoch,
  published_seq = excluded.published_seq
WHERE mine.closed_in IS NULL
"""
_ADJUST: Final = """
INSERT INTO usage_adjustment
  (tenant_id, metric, window_start, key, close_id, period, value, unit, source, event_id, time_us, reason)
SELECT tenant_id, metric, window_start, key, close_id, period, value, '1', source, event_id, time_us, 'late_event'
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::text[], $6::text[], $7::numeric[], $8::text[],
  $9::text[], $10::bigint[])
  AS late (tenant_id, metric, window_start, key, close_id, period, value, source, event_id, time_us)
"""
# Rows are locked in key order before they are changed, here and in _FREEZE, as batches lock them.
_CHANGED: Final = """
SELECT tenant_id, metric, window_start, value, unit, last_gauge, store_epoch, seq FROM usage_window
WHERE published_seq IS NULL ORDER BY tenant_id, metric, window_start LIMIT $1
"""
_PUBLISHED: Final = """
WITH told AS (
  SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[])
    AS told (tenant_id, metric, window_start, seq)),
held AS MATERIALIZED (
  SELECT tenant_id, metric, window_start FROM usage_window AS mine JOIN told USING (tenant_id, metric, window_start)
  ORDER BY mine.tenant_id, mine.metric, mine.window_start FOR UPDATE OF mine)
UPDATE usage_window AS mine SET published_seq = told.seq
FROM told JOIN held USING (tenant_id, metric, window_start)
WHERE mine.tenant_id = told.tenant_id AND mine.metric = told.metric AND mine.window_start = told.window_start
  AND mine.published_seq IS NULL AND mine.seq = told.seq
"""
_EPOCH_IS_NEW: Final = """
SELECT published_epoch.epoch < store_epoch.epoch FROM published_epoch, store_epoch FOR UPDATE OF published_epoch
"""
_REPUBLISH: Final = """
UPDATE usage_window SET store_epoch = (SELECT epoch FROM store_epoch), published_seq = NULL
WHERE closed_in IS NULL AND published_seq IS DISTINCT FROM 9223372036854775807
"""
_FREEZE: Final = """
WITH held AS MATERIALIZED (
  SELECT tenant_id, metric, window_start FROM usage_window
  WHERE tenant_id = $1 AND window_start >= $2 AND window_start < $3 AND closed_in IS NULL
  ORDER BY tenant_id, metric, window_start FOR UPDATE)
UPDATE usage_window AS mine SET closed_in = $4 FROM held
WHERE mine.tenant_id = held.tenant_id AND mine.metric = held.metric AND mine.window_start = held.window_start
RETURNING mine.tenant_id, mine.metric, mine.window_start, mine.value, mine.store_epoch, mine.seq
"""
# A running total at each edge of a range: what lies before its end less what lies before its start, exactly. Joining
# each range with its windows instead took 100 times as long where there are many (tests/bench/measure_queries.py).
_TOTALS: Final = """
WITH asked AS (
  SELECT * FROM unnest($3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY AS asked (starts_at, ends_at, place)),
moments AS (
  SELECT window_start AS at, value, false AS is_edge FROM usage_window
  WHERE tenant_id = $1 AND metric = $2
    AND window_start >= (SELECT min(starts_at) FROM asked) AND window_start < (SELECT max(ends_at) FROM asked)
  UNION ALL (SELECT starts_at, 0, true FROM asked UNION SELECT ends_at, 0, true FROM asked)),
running AS MATERIALIZED (
  SELECT at, is_edge, sum(value) OVER (ORDER BY at, is_edge DESC ROWS UNBOUNDED PRECEDING) AS upto FROM moments)
SELECT trim_scale(last.upto - first.upto) AS total FROM asked
JOIN running AS first ON first.is_edge AND first.at = asked.starts_at
JOIN running AS last ON last.is_edge AND last.at = asked.ends_at
ORDER BY asked.place
"""
