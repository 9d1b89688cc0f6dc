"""What the store knows of the events behind a total: the total, which ids came again, which were adjustments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from asyncpg.pgproto.pgproto import UUID

from libs.store.pool import Tx
from services.metering.domain.correcting import Action


@dataclass(frozen=True, slots=True)
class Counted:
    """What a metric counts within a span: in its windows, and beside them for periods that were closed before."""

    total: Decimal
    adjusted: Decimal


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What an event counts for a period that was closed before."""

    value: Decimal
    period: str


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a correction made of an event: its amount now, 0 where the metric does not count it any more."""

    action: Action
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Closed:
    """The closed period that holds an event."""

    close_id: str
    period: str


async def counted(tx: Tx, tenant_id: str, metric: str, start: datetime, end: datetime) -> Counted:
    """Return what is counted within [start, end)."""
    row = await tx.fetchrow(_COUNTED, tenant_id, metric, start, end)
    assert row is not None
    return Counted(row["total"], row["adjusted"])


async def days(tx: Tx, tenant_id: str, metric: str, start: datetime, end: datetime) -> list[date]:
    """Return the UTC days of [start, end) on which the metric counted anything, in order."""
    return [row["day"] for row in await tx.fetch(_DAYS, tenant_id, metric, start, end)]


async def came_again(tx: Tx, keys: Collection[bytes]) -> set[bytes]:
    """Return those of the keys of which a copy or a conflict was noted."""
    rows = await tx.fetch(_CAME_AGAIN, [UUID(key) for key in keys])
    return {row["key"].bytes for row in rows}


async def adjusted(tx: Tx, tenant_id: str, metric: str, keys: Collection[bytes]) -> dict[bytes, Adjusted]:
    """Return by key what these events count beside the windows of periods that were closed, corrections included."""
    rows = await tx.fetch(_ADJUSTED, tenant_id, metric, [UUID(key) for key in keys])
    return {row["key"].bytes: Adjusted(row["value"], row["period"]) for row in rows}


async def corrected(tx: Tx, tenant_id: str, metric: str, keys: Collection[bytes]) -> dict[bytes, Corrected]:
    """Return by key what the last correction that was applied to each of these events made of it."""
    rows = await tx.fetch(_CORRECTED, tenant_id, metric, [UUID(key) for key in keys])
    return {row["key"].bytes: Corrected(row["action"], row["amount"]) for row in rows}


async def amended(tx: Tx, tenant_id: str, metric: str, span_us: tuple[int, int]) -> set[bytes]:
    """Return the keys of events of [start, end) that the metric counts as they were amended."""
    return {row["key"].bytes for row in await tx.fetch(_AMENDED, tenant_id, metric, *span_us)}


async def closed_at(tx: Tx, tenant_id: str, window_start: datetime) -> Closed | None:
    """Return the closed period that holds the window, None while it is open."""
    row = await tx.fetchrow(_CLOSED_AT, tenant_id, window_start)
    return None if row is None else Closed(row["close_id"], row["period"])


_COUNTED: Final = """
SELECT
  (SELECT coalesce(sum(value), 0) FROM usage_window
   WHERE tenant_id = $1 AND metric = $2 AND window_start >= $3 AND window_start < $4) AS total,
  (SELECT coalesce(sum(value), 0) FROM usage_adjustment
   WHERE tenant_id = $1 AND metric = $2 AND window_start >= $3 AND window_start < $4) AS adjusted
"""
_DAYS: Final = """
SELECT DISTINCT (window_start AT TIME ZONE 'UTC')::date AS day FROM (
  SELECT window_start FROM usage_window
  WHERE tenant_id = $1 AND metric = $2 AND window_start >= $3 AND window_start < $4
  UNION ALL
  SELECT window_start FROM usage_adjustment
  WHERE tenant_id = $1 AND metric = $2 AND window_start >= $3 AND window_start < $4) AS used
ORDER BY day
"""
_CAME_AGAIN: Final = """
SELECT key FROM usage_duplicate WHERE key = ANY($1::uuid[])
UNION SELECT key FROM usage_conflict WHERE key = ANY($1::uuid[])
"""
# The key of an adjustment is the event's, or its correction's.
_ADJUSTED: Final = """
WITH mine AS (
  SELECT key AS named, key FROM unnest($3::uuid[]) AS event (key)
  UNION ALL SELECT correction_id, key FROM usage_correction WHERE tenant_id = $1 AND key = ANY($3::uuid[]))
SELECT mine.key, sum(value) AS value, min(period) AS period
FROM usage_adjustment AS adjustment JOIN mine ON mine.named = adjustment.key
WHERE tenant_id = $1 AND metric = $2 GROUP BY mine.key
"""
_LAST: Final = """
SELECT DISTINCT ON (key) key, action, coalesce((
    SELECT sum((effect ->> 'amount')::numeric) FROM jsonb_array_elements(after::jsonb) AS effect
    WHERE effect ->> 'metric' = $2), 0) AS amount
FROM usage_correction AS mine JOIN usage_correction_outcome USING (correction_id)
"""
_CORRECTED: Final = f"""
{_LAST} WHERE mine.tenant_id = $1 AND key = ANY($3::uuid[]) AND state = 'applied' ORDER BY key, number DESC
"""
_AMENDED: Final = f"""
SELECT key FROM (
  {_LAST} WHERE mine.tenant_id = $1 AND time_us >= $3 AND time_us < $4 AND state = 'applied'
  ORDER BY key, number DESC) AS last
WHERE amount <> 0
"""  # noqa: S608
_CLOSED_AT: Final = """
SELECT close_id, period FROM period_close
WHERE tenant_id = $1 AND starts_at <= $2 AND ends_at > $2 ORDER BY ends_at LIMIT 1
"""
