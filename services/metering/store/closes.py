"""Closes: what was asked for, what was frozen, and how far the shards are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.schemas.events import CloseRequested, PeriodClosed
from libs.store.pool import Tx
from services.metering.domain.watermark import Progress


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request that is not answered yet, and the trace that it belongs to."""

    request: CloseRequested
    traceparent: str | None


async def save_request(tx: Tx, request: CloseRequested, traceparent: str | None) -> None:
    """Keep the request; one that is known already changes nothing."""
    await tx.execute(_SAVE, request.close_id, request.model_dump_json(), traceparent)


async def open_requests(tx: Tx, limit: int) -> list[OpenRequest]:
    """Return the oldest requests that are not answered."""
    return [
        OpenRequest(CloseRequested.model_validate_json(row["request"]), row["traceparent"])
        for row in await tx.fetch(_OPEN, limit)
    ]


async def waiting(tx: Tx) -> tuple[int, float]:
    """Return how many requests are not answered, and for how many seconds the oldest of them waits (0 without one)."""
    row = await tx.fetchrow(_WAITING)
    return (row["count"], row["age_s"]) if row else (0, 0.0)


async def take_request(tx: Tx, close_id: str) -> bool:
    """Hold the request until `tx` ends; return False where another holds it or it is answered."""
    return bool(await tx.fetchval(_TAKE, close_id))


async def answer_request(tx: Tx, close_id: str) -> None:
    """Note that the request is answered."""
    await tx.execute("UPDATE close_request SET answered_at = now() WHERE close_id = $1", close_id)


async def said_of(tx: Tx, tenant_id: str, period: str) -> PeriodClosed | None:
    """Return what was said when the period was closed, None while it is open."""
    said = await tx.fetchval("SELECT said FROM period_close WHERE tenant_id = $1 AND period = $2", tenant_id, period)
    return None if said is None else PeriodClosed.model_validate_json(said)


async def add_close(tx: Tx, closed: PeriodClosed) -> None:
    """Keep the close for good."""
    await tx.execute(
        _ADD,
        closed.tenant_id,
        closed.period,
        closed.close_id,
        closed.starts_at,
        closed.ends_at,
        closed.model_dump_json(),
    )


async def progress(tx: Tx, consumer: str, topic_id: UUID) -> Mapping[int, Progress]:
    """Return how far `consumer` has stored its way through each partition of the topic (a table of libs/bus)."""
    rows = await tx.fetch(_PROGRESS, consumer, topic_id)
    return {row["partition"]: Progress(row["next"], row["appended_at_ms"] or 0) for row in rows}


_SAVE: Final = """
INSERT INTO close_request (close_id, request, traceparent) VALUES ($1, $2, $3) ON CONFLICT (close_id) DO NOTHING
"""
_OPEN: Final = """
SELECT request, traceparent FROM close_request WHERE answered_at IS NULL ORDER BY received_at, close_id LIMIT $1
"""
_WAITING: Final = """
SELECT count(*) AS count, coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)::float8 AS age_s
FROM close_request WHERE answered_at IS NULL
"""
_TAKE: Final = """
SELECT true FROM close_request WHERE close_id = $1 AND answered_at IS NULL FOR UPDATE SKIP LOCKED
"""
_ADD: Final = """
INSERT INTO period_close (tenant_id, period, close_id, starts_at, ends_at, said) VALUES ($1, $2, $3, $4, $5, $6)
"""
_PROGRESS: Final = "SELECT partition, next, appended_at_ms FROM consumer_offset WHERE consumer = $1 AND topic_id = $2"
