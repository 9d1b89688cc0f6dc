"""Closes: asked for, frozen, waiting to be issued."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from libs.schemas.events import FrozenWindow
from libs.schemas.values import Period, TenantId, decimal_of, plain
from libs.store.pool import Tx
from services.invoicing.domain.closing import NOT_TRIED_YET, FrozenClose, Progress, RequestedClose

After = tuple[datetime, UUID]
"""Where the page before ended: (requested_at, close id) of its last row."""


async def add_close(tx: Tx, close: RequestedClose) -> bool:
    """Keep the close; False where the tenant's period has one, which then stands."""
    period = close.period
    added = await tx.fetchval(
        _ADD,
        close.close_id,
        close.tenant_id,
        period.name,
        period.zone,
        period.starts_at,
        period.ends_at,
        close.early,
        close.requested_at,
        close.traceparent,
    )
    return added is not None


async def waiting(tx: Tx) -> tuple[int, float]:
    """Return how many frozen closes are not issued, and how many seconds ago the oldest was frozen (0 without one)."""
    row = await tx.fetchrow(_WAITING)
    return (row["count"], row["age_s"]) if row else (0, 0.0)


async def close_by_id(tx: Tx, close_id: UUID) -> RequestedClose | None:
    """Return the close as it was asked for."""
    row = await tx.fetchrow(_BY_ID, close_id)
    return None if row is None else _request(row)


async def progress_of_period(tx: Tx, period: str, tenant_ids: Collection[TenantId]) -> dict[TenantId, Progress]:
    """Return how far the closes of `period` have come, for those of the tenants that have one."""
    rows = await tx.fetch(_PROGRESS_OF_PERIOD, period, list(tenant_ids))
    return {TenantId(row["tenant_id"]): _progress(row) for row in rows}


async def progress_by_id(tx: Tx, close_id: UUID) -> Progress | None:
    """Return how far the close has come."""
    row = await tx.fetchrow(_PROGRESS_BY_ID, close_id)
    return None if row is None else _progress(row)


async def progress_after(
    tx: Tx, after: After | None, limit: int, tenant_ids: Collection[TenantId] | None
) -> Sequence[Progress]:
    """Return up to `limit` closes of `tenant_ids` (None: of all), those asked for last first."""
    tenants = None if tenant_ids is None else list(tenant_ids)
    rows = await tx.fetch(_PROGRESS_AFTER, *(after or (None, None)), limit, tenants)
    return [_progress(row) for row in rows]


async def add_frozen(tx: Tx, frozen: FrozenClose, try_at: datetime) -> bool:
    """Keep the frozen set and put the close on the list of work; False where it is kept already."""
    close_id = frozen.request.close_id
    totals = json.dumps({metric: plain(total) for metric, total in sorted(frozen.totals.items())})
    added = await tx.fetchval(_ADD_FROZEN, close_id, frozen.through, frozen.closed_at, frozen.tzdata_version, totals)
    if added is None:
        return False
    await tx.execute(
        _ADD_WINDOWS,
        close_id,
        [window.metric for window in frozen.windows],
        [window.window_start for window in frozen.windows],
        [window.store_epoch for window in frozen.windows],
        [window.seq for window in frozen.windows],
        [window.digest for window in frozen.windows],
    )
    await tx.execute(_ADD_WAITING, close_id, frozen.request.tenant_id, try_at, NOT_TRIED_YET)
    return True


async def frozen_by_id(tx: Tx, close_id: UUID) -> FrozenClose | None:
    """Return the frozen close, windows in order of (metric, start); None where it is not frozen."""
    row = await tx.fetchrow(_FROZEN_BY_ID, close_id)
    if row is None:
        return None
    windows = tuple(FrozenWindow(**dict(window)) for window in await tx.fetch(_WINDOWS, close_id))
    totals = {metric: decimal_of(total) for metric, total in json.loads(row["totals"]).items()}
    return FrozenClose(_request(row), row["through"], row["closed_at"], row["tzdata_version"], windows, totals)


async def due(tx: Tx, now: datetime, limit: int) -> list[UUID]:
    """Return up to `limit` frozen closes whose next try is due, those that wait longest first."""
    return [row["close_id"] for row in await tx.fetch(_DUE, now, limit)]


async def take_waiting(tx: Tx, close_id: UUID) -> int | None:
    """Hold the close's line of the list of work and return its tries so far; None where another has it, or had it."""
    tries: int | None = await tx.fetchval(_TAKE, close_id)
    return tries


async def postpone(tx: Tx, close_id: UUID, waits_for: str, try_at: datetime) -> None:
    """Write down what the close waits for, and when to try again."""
    await tx.execute(_POSTPONE, close_id, waits_for, try_at)


async def wake(tx: Tx, tenant_ids: Collection[TenantId] | None, now: datetime) -> None:
    """Make the waiting closes of these tenants (None: of all) due now: something that they may wait for has come."""
    await tx.execute(_WAKE, None if tenant_ids is None else sorted(tenant_ids), now)


async def finish(tx: Tx, close_id: UUID) -> None:
    """Take the close off the list of work."""
    await tx.execute("DELETE FROM waiting_close WHERE close_id = $1", close_id)


def _request(row: asyncpg.Record) -> RequestedClose:
    return RequestedClose(
        close_id=row["close_id"],
        tenant_id=TenantId(row["tenant_id"]),
        period=Period(row["period"], row["zone"], row["starts_at"], row["ends_at"]),
        early=row["early"],
        requested_at=row["requested_at"],
        traceparent=row["traceparent"],
    )


def _progress(row: asyncpg.Record) -> Progress:
    return Progress(
        request=_request(row),
        frozen_at=row["closed_at"],
        open_point=row["waits_for"],
        invoice_id=row["invoice_id"],
        issued_at=row["issued_at"],
        signed_at=row["signed_at"],
    )


_COLUMNS: Final = "close_id, tenant_id, period, zone, starts_at, ends_at, early, requested_at, traceparent"
_ADD: Final = f"""
INSERT INTO close ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING true
"""  # noqa: S608  # only our own constants are put in, here and below
_BY_ID: Final = f"SELECT {_COLUMNS} FROM close WHERE close_id = $1"  # noqa: S608
_ADD_FROZEN: Final = """
INSERT INTO frozen_close (close_id, through, closed_at, tzdata_version, totals) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING true
"""
_ADD_WINDOWS: Final = """
INSERT INTO frozen_window (close_id, metric, window_start, store_epoch, seq, digest)
SELECT $1, one.* FROM unnest($2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::text[]) AS one
"""
_ADD_WAITING: Final = "INSERT INTO waiting_close (close_id, tenant_id, try_at, waits_for) VALUES ($1, $2, $3, $4)"
_FROZEN_BY_ID: Final = f"""
SELECT {_COLUMNS}, through, closed_at, tzdata_version, totals FROM frozen_close JOIN close USING (close_id)
WHERE close_id = $1
"""  # noqa: S608
_WINDOWS: Final = """
SELECT metric, window_start, store_epoch, seq, digest FROM frozen_window WHERE close_id = $1
ORDER BY metric, window_start
"""
_DUE: Final = "SELECT close_id FROM waiting_close WHERE try_at <= $1 ORDER BY try_at, close_id LIMIT $2"
_TAKE: Final = "SELECT tries FROM waiting_close WHERE close_id = $1 FOR UPDATE SKIP LOCKED"
_POSTPONE: Final = "UPDATE waiting_close SET tries = tries + 1, waits_for = $2, try_at = $3 WHERE close_id = $1"
# Every row is locked, also one that is due already: whoever is trying it now has not seen what we bring, and postpones
# it before we go on.
_WAKE: Final = """
WITH held AS MATERIALIZED (
  SELECT close_id FROM waiting_close WHERE $1::text[] IS NULL OR tenant_id = ANY($1) ORDER BY close_id FOR UPDATE)
UPDATE waiting_close AS one SET try_at = least(try_at, $2) FROM held WHERE one.close_id = held.close_id
"""
_PROGRESS: Final = """
SELECT close.close_id, close.tenant_id, close.period, close.zone, close.starts_at, close.ends_at, close.early,
  close.requested_at, close.traceparent, frozen_close.closed_at, waiting_close.waits_for,
  invoices.id AS invoice_id, invoices.created_at AS issued_at, invoice_signature.signed_at
FROM close
LEFT JOIN frozen_close ON frozen_close.close_id = close.close_id
LEFT JOIN waiting_close ON waiting_close.close_id = close.close_id
LEFT JOIN invoices ON invoices.close_id = close.close_id
LEFT JOIN invoice_signature ON invoice_signature.invoice_id = invoices.id
"""
_PROGRESS_BY_ID: Final = _PROGRESS + "WHERE close.close_id = $1"
_PROGRESS_OF_PERIOD: Final = _PROGRESS + "WHERE close.period = $1 AND close.tenant_id = ANY($2::text[])"
_PROGRESS_AFTER: Final = (
    _PROGRESS
    + """
WHERE ($1::timestamptz IS NULL OR (close.requested_at, close.close_id) < ($1, $2::uuid))
  AND ($4::text[] IS NULL OR close.tenant_id = ANY($4))
ORDER BY close.requested_at DESC, close.close_id DESC LIMIT $3
"""
)
_WAITING: Final = """
SELECT count(*) AS count, coalesce(extract(epoch FROM clock_timestamp() - min(closed_at)), 0)::float8 AS age_s
FROM waiting_close JOIN frozen_close USING (close_id)
"""
