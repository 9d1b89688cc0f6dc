"""Our copy of metering's windows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.schemas.values import TenantId
from libs.store.pool import Tx
from services.invoicing.domain.windows import WindowCopy


async def put_copies(tx: Tx, copies: Mapping[TenantId, list[WindowCopy]]) -> None:
    """Keep each copy whose (store_epoch, seq) is greater than that of the one we hold.

    Of several copies of one window the greatest counts: one statement may touch a row only once. Rows are written in
    key order, so that two writers never deadlock.
    """
    greatest: dict[tuple[str, str, datetime], WindowCopy] = {}
    for tenant_id, of_tenant in copies.items():
        for copy in of_tenant:
            key = (tenant_id, copy.metric, copy.window_start)
            held = greatest.get(key)
            if held is None or (held.store_epoch, held.seq) < (copy.store_epoch, copy.seq):
                greatest[key] = copy
    rows = sorted(((key[0], copy) for key, copy in greatest.items()), key=_key_order)
    await tx.execute(
        _PUT,
        [tenant_id for tenant_id, _ in rows],
        [copy.metric for _, copy in rows],
        [copy.window_start for _, copy in rows],
        [copy.value for _, copy in rows],
        [copy.store_epoch for _, copy in rows],
        [copy.seq for _, copy in rows],
        [copy.digest for _, copy in rows],
    )


async def copies_of_frozen(tx: Tx, close_id: UUID, tenant_id: TenantId) -> list[WindowCopy]:
    """Return what we hold of the windows that were frozen for the close, whether or not it is as frozen."""
    return [WindowCopy(**dict(row)) for row in await tx.fetch(_OF_FROZEN, close_id, tenant_id)]


def _key_order(row: tuple[str, WindowCopy]) -> tuple[str, str, datetime]:
    return (row[0], row[1].metric, row[1].window_start)


_PUT: Final = """
INSERT INTO usage_window_copy AS held (tenant_id, metric, window_start, value, store_epoch, seq, digest)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::numeric[], $5::bigint[], $6::bigint[], $7::text[])
ON CONFLICT (tenant_id, metric, window_start) DO UPDATE
SET value = excluded.value, store_epoch = excluded.store_epoch, seq = excluded.seq, digest = excluded.digest
WHERE (held.store_epoch, held.seq) < (excluded.store_epoch, excluded.seq)
"""
_OF_FROZEN: Final = """
SELECT held.metric, held.window_start, held.value, held.store_epoch, held.seq, held.digest
FROM frozen_window AS frozen
JOIN usage_window_copy AS held
  ON held.tenant_id = $2 AND held.metric = frozen.metric AND held.window_start = frozen.window_start
WHERE frozen.close_id = $1
"""
