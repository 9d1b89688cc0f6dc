"""The store's epoch: which life of this database a sequence number belongs to.

Sequences that leave the store are (store_epoch, seq). A promotion or a restore may lose numbers that were already given
out; raising the epoch makes every new pair greater than any of them.
"""

from __future__ import annotations

from typing import Final

from libs.runtime.errors import Broken
from libs.store.pool import Tx


async def store_epoch(tx: Tx) -> int:
    """Return the epoch of this database, at least 1."""
    epoch = await tx.fetchval("SELECT epoch FROM store_epoch")
    if epoch is None:
        raise Broken("store_epoch has no row: apply libs/store/migrations, or restore the database again")
    return int(epoch)


async def raise_store_epoch(tx: Tx, reason: str) -> int:
    """Raise the epoch by one after a promotion or a restore, and return it. `reason` is kept with it."""
    return int(await tx.fetchval(_RAISE, reason))


_RAISE: Final = "UPDATE store_epoch SET epoch = epoch + 1, reason = $1, raised_at = now() RETURNING epoch"
