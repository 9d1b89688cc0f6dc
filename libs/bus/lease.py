"""The relay's lease: one holder per database, by the database's clock, fenced by a token of the holder's own."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from libs.store.pool import Tx

# Longer than a publish can take with all its retries (libs.bus.kafka.publisher: 10 s to be taken, 8 s to be delivered),
# so that a relay never publishes outside its lease. One that is killed and comes back under its name does not wait.
LEASE_S: Final = 20.0
# What is given to the broker by then is written or given up while the lease lasts: 8 s to be delivered, and 2 to spare.
SPEAK_S: Final = LEASE_S - 10.0


async def seize(tx: Tx, *, token: UUID, holder: str) -> bool:
    """Take the lease if it is free, has run out, or is held under our own name by a process before us."""
    return await tx.fetchval(_SEIZE, token, holder, LEASE_S) is not None


async def hold(tx: Tx, token: UUID) -> bool:
    """Renew and lock the lease until this transaction ends; return False where it is no longer ours.

    Whoever gives out sequences does so in this transaction: another holder waits for its commit.
    """
    return await tx.fetchval(_HOLD, token, LEASE_S) is not None


async def release(tx: Tx, token: UUID) -> None:
    """Give the lease back, so that the next holder need not wait."""
    await tx.execute(_RELEASE, token)


_SEIZE: Final = """
UPDATE relay_lease SET token = $1, holder = $2, expires_at = clock_timestamp() + make_interval(secs => $3)
WHERE expires_at <= clock_timestamp() OR holder = $2 RETURNING true
"""
_HOLD: Final = """
UPDATE relay_lease SET expires_at = clock_timestamp() + make_interval(secs => $2)
WHERE token = $1 AND expires_at > clock_timestamp() RETURNING true
"""
_RELEASE: Final = "UPDATE relay_lease SET expires_at = '-infinity' WHERE token = $1"
