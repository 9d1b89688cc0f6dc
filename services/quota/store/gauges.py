"""The last gauge of each tenant: what it stores, in bytes."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from libs.schemas.values import TenantId
from libs.store.pool import Tx


async def keep_gauge(
    tx: Tx, tenant_id: TenantId, stored_bytes: Decimal, *, store_epoch: int, window_start: datetime, seq: int
) -> None:
    """Keep a gauge unless a newer one is kept: of a later life of metering's store, else of a later window, else total.

    A correction of an old window has a new sequence number and says nothing about now: the window comes before it.
    """
    await tx.execute(_KEEP, tenant_id, stored_bytes, store_epoch, window_start, seq)


async def stored_bytes_of(tx: Tx, tenant_id: TenantId) -> int:
    """Return what the tenant stores, 0 where nothing was ever seen."""
    return int(await tx.fetchval("SELECT bytes FROM storage_gauge WHERE tenant_id = $1", tenant_id) or 0)


_KEEP: Final = """
INSERT INTO storage_gauge AS held (tenant_id, bytes, store_epoch, window_start, seq) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id) DO UPDATE
SET bytes = excluded.bytes, store_epoch = excluded.store_epoch, window_start = excluded.window_start, seq = excluded.seq
WHERE (held.store_epoch, held.window_start, held.seq) < (excluded.store_epoch, excluded.window_start, excluded.seq)
"""
