"""The store's epoch: which life of this database a sequence number belongs to.

Sequences that leave the store are (store_epoch, seq). A promotion or a restore may lose numbers that were already given
out; raising the epoch makes every new pair greater than any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.runtime.errors import Broken
from libs.store.pool import Tx


@dataclass(frozen=True, slots=True)
class StoreLife:
    """Which store this is, and which of its lives. A restored backup has the id of the store it was made of."""

    store_id: UUID
    epoch: int


async def store_life(tx: Tx) -> StoreLife:
    """Return the id of this database and its epoch, at least 1."""
    row = await tx.fetchrow("SELECT store_id, epoch FROM store_epoch")
    if row is None:
        raise Broken("store_epoch has no row: apply libs/store/migrations, or restore the database again")
    return StoreLife(row["store_id"], int(row["epoch"]))


async def store_epoch(tx: Tx) -> int:
    """Return the epoch of this database, at least 1."""
    return (await store_life(tx)).epoch


async def raise_store_epoch(tx: Tx, reason: str, *, above: int = 0) -> int:
    """Raise the epoch after a promotion or a restore, by one or to more than `above`, and return it.

    `above` is the greatest epoch that the store is known to have had. `reason` is kept with the new one.
    """
    return int(await tx.fetchval(_RAISE, reason, above))


_RAISE: Final = """
UPDATE store_epoch SET epoch = greatest(epoch, $2::bigint) + 1, reason = $1, raised_at = now() RETURNING epoch
"""
