"""The ids of before runs: rows of usage_event_id. Asked as long as there are any, and moved into runs lot by lot.

Once a process has cut over, nobody adds to that table any more (a trigger of the migration refuses it): it is empty for
good when it is empty once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncpg.pgproto.pgproto import UUID

from libs.store.pool import Tx
from services.metering.domain.runs import LANES, Columns, columns_of


async def cut_over(tx: Tx) -> None:
    """From the commit of `tx` on nobody adds to the table; waits for those who just do."""
    if await tx.fetchval("SELECT EXISTS (SELECT FROM usage_id_cutover)"):
        return
    await tx.execute("LOCK TABLE usage_event_id IN SHARE ROW EXCLUSIVE MODE")
    await tx.execute("INSERT INTO usage_id_cutover DEFAULT VALUES ON CONFLICT DO NOTHING")


async def are_left(tx: Tx) -> bool:
    """Return whether there are any."""
    return bool(await tx.fetchval("SELECT EXISTS (SELECT FROM usage_event_id)"))


async def look_up(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, int]:
    """Return the digests of those of the keys that are here."""
    rows = await tx.fetch(_LOOK_UP, [UUID(key) for key in keys])
    return {row["key"].bytes: row["digest"] for row in rows}


async def take_out(tx: Tx, lane: int, limit: int) -> tuple[Columns, int] | None:
    """Remove at most `limit` ids of a lane; return (their entries, from when the last is kept), None without any."""
    width = 256 // LANES
    first = UUID(bytes([lane * width]) + bytes(15))
    last = UUID(bytes([(lane + 1) * width - 1]) + bytes([255] * 15))
    rows = await tx.fetch(_TAKE_OUT, first, last, limit)
    if not rows:
        return None
    keys = [row["key"].bytes for row in rows]
    entries = columns_of(keys, [row["digest"] for row in rows], [row["time_us"] for row in rows])
    return entries, max(row["kept_from_us"] for row in rows)


_LOOK_UP: Final = "SELECT key, digest FROM usage_event_id WHERE key = ANY($1::uuid[])"
_TAKE_OUT: Final = """
DELETE FROM usage_event_id WHERE key IN (
  SELECT key FROM usage_event_id WHERE key BETWEEN $1 AND $2 ORDER BY key LIMIT $3)
RETURNING key, digest, time_us, kept_from_us
"""
