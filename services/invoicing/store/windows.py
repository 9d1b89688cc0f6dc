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

    Rows are written in key order, so that two writers never deadlock.
    """
    greatest = _greatest(copies)
    keys = sorted(greatest)
    ordered = [greatest[key] for key in keys]
    await tx.execute(
        _PUT,
        [tenant_id for tenant_id, _, _ in keys],
        [copy.metric for copy in ordered],
        [copy.window_start for copy in ordered],
        [copy.value for copy in ordered],
        [copy.store_epoch for copy in ordered],
        [copy.seq for copy in ordered],
        [copy.digest for copy in ordered],
    )


async def copies_of_frozen(tx: Tx, close_id: UUID, tenant_id: TenantId) -> list[WindowCopy]:
    """Return what we hold of the windows that were frozen for the close, whether or not it is as frozen."""
    return [WindowCopy(**dict(row)) for row in await tx.fetch(_OF_FROZEN, close_id, tenant_id)]


def _greatest(copies: Mapping[TenantId, list[WindowCopy]]) -> dict[tuple[str, str, datetime], WindowCopy]:
    """Of several copies of one window the last said: one statement may touch a row only once."""
    greatest: dict[tuple[str, str, datetime], WindowCopy] = {}
    for tenant_id, of_tenant in copies.items():
        for copy in of_tenant:
            held = greatest.setdefault((tenant_id, copy.metric, copy.window_start), copy)
            if (held.store_epoch, held.seq) < (copy.store_epoch, copy.seq):
                greatest[tenant_id, copy.metric, copy.window_start] = copy
    return greatest


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
