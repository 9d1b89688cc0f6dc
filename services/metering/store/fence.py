"""The fence between batches and closes.

Whatever writes windows shares it, first thing, and only then reads which periods are closed; a close holds it alone.
So a batch either commits before the close reads, or sees the period closed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from libs.schemas.values import from_microseconds, microseconds
from libs.store.pool import Tx
from services.metering.domain.folding import Closed, ClosedPeriod

_CLOSE_LOCK: Final = 0x6D61_6573_636C_6F73  # advisory lock: "maesclos"
_PUBLISH_LOCK: Final = 0x6D61_6573_7075_626C  # advisory lock: "maespubl"


async def share_fence(tx: Tx) -> int:
    """Keep closes out until `tx` ends. Read-committed: statements after this one see every close that came before.

    Returns the epoch of the meters, which saves a round trip to ask for it.
    """
    lock = "SELECT pg_advisory_xact_lock_shared($1), (SELECT epoch FROM meter_epoch) AS epoch"
    [row] = await tx.fetch(lock, _CLOSE_LOCK)
    return int(row["epoch"])


async def hold_fence(tx: Tx) -> None:
    """Keep batches out until `tx` ends; waits for those that are under way."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _CLOSE_LOCK)


async def be_publisher(tx: Tx) -> bool:
    """Return whether this process is the one that publishes windows until `tx` ends."""
    return bool(await tx.fetchval("SELECT pg_try_advisory_xact_lock($1)", _PUBLISH_LOCK))


async def closed_periods(tx: Tx, tenants: Collection[str], since_us: int) -> Closed:
    """Return the closed periods of these tenants that end after `since_us`. Share the fence before."""
    rows = await tx.fetch(_CLOSED, list(tenants), from_microseconds(since_us))
    closed: dict[str, list[ClosedPeriod]] = {}
    for row in rows:
        period = ClosedPeriod(
            tenant_id=row["tenant_id"],
            close_id=row["close_id"],
            period=row["period"],
            starts_us=microseconds(row["starts_at"]),
            ends_us=microseconds(row["ends_at"]),
        )
        closed.setdefault(period.tenant_id, []).append(period)
    return closed


_CLOSED: Final = """
SELECT tenant_id, close_id, period, starts_at, ends_at FROM period_close
WHERE tenant_id = ANY($1::text[]) AND ends_at > $2 ORDER BY tenant_id, starts_at
"""
