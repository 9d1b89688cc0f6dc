"""Clearing away what runs of ids leave: their chunks, and of forgotten ids what else was noted of them."""

from __future__ import annotations

from typing import Final

from libs.store.pool import Tx
from services.metering.domain.runs import unpack
from services.metering.store import ids, runs

MAX_CHUNKS: Final = 500  # of one transaction: 30,000 ids


async def clear_away(tx: Tx) -> bool:
    """Clear away one lot of runs that were replaced or forgotten; return whether there may be more."""
    gone = await runs.hold_gone(tx)
    chunks = await runs.remove_chunks(tx, [*gone.replaced, *gone.forgotten], MAX_CHUNKS)
    forgotten = [chunk for run in gone.forgotten for chunk in chunks.get(run, ())]
    if forgotten:
        await ids.forget_notes(tx, unpack(b"".join(forgotten)).keys())
    return bool(gone.replaced or gone.forgotten)
