"""Every key that ever signed here, each naming the one it replaced: a chain that the table keeps from forking."""

from __future__ import annotations

from typing import Final

from libs.signing.keys import PublicKey
from libs.store.pool import Tx


async def fingerprint_in_force(tx: Tx) -> str | None:
    """Return the fingerprint of the key that no other has replaced; None before the first."""
    found: str | None = await tx.fetchval(_IN_FORCE)
    return found


async def add_key(tx: Tx, key: PublicKey, *, replaces: str | None) -> None:
    """Put `key` in force. Of two rivals that replace the same one, the second violates the table's constraint."""
    await tx.execute(_ADD, key.fingerprint, key.pem.decode("ascii"), replaces)


async def trusted_keys(tx: Tx) -> list[PublicKey]:
    """Return all keys, the one in force first."""
    rows = await tx.fetch(_ALL)
    return [PublicKey.from_pem(row["pem"].encode("ascii")) for row in rows]


_IN_FORCE: Final = """
SELECT fingerprint FROM signing_key AS key
WHERE NOT EXISTS (SELECT FROM signing_key AS newer WHERE newer.replaces = key.fingerprint)
"""
_ADD: Final = "INSERT INTO signing_key (fingerprint, pem, replaces) VALUES ($1, $2, $3)"
_ALL: Final = "SELECT pem FROM signing_key ORDER BY number DESC"
