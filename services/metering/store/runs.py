"""Runs of ids in the store: added under the sequence of their lane, replaced by what they are merged into, forgotten.

The live runs of a lane, taken together, are the ids that stand in it. Whoever adds one moves the lane's sequence from
the number at which they loaded it: who does not know all of the lane adds nothing. Merging adds no id, and moves none.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from asyncpg import Record
from asyncpg.pgproto import pgproto

from libs.runtime.errors import Unavailable
from libs.store.pool import Tx
from services.metering.domain.runs import ENTRY_BYTES, Columns, lane_of, pack, unpack

CHUNK_ENTRIES: Final = 60  # a fourth of a page, see the migration
_CHUNK_BYTES: Final = CHUNK_ENTRIES * ENTRY_BYTES
READ_CHUNKS: Final = 2_000  # of one statement, 4 MB
SMALL_RUNS: Final = 32  # of one statement, 2 MB each at most
MAX_GONE: Final = 500  # runs that are cleared away at once; those of single batches have some chunks each
LOOKED_UP_KEYS: Final = 16  # of one statement: each may have to be looked for in a thousand runs


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the store. `kept_from_us` is that of its last id."""

    id: UUID
    lane: int
    entries: int
    kept_from_us: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Runs that nobody looks into any more."""

    replaced: list[UUID]
    forgotten: list[UUID]


def new_id(lane: int, seq: int) -> UUID:
    """Return an id for a new run. It never comes twice, not even in a restored store; ids of later runs come later."""
    return UUID(bytes=(seq & 0xFFFFFFFFFFFF).to_bytes(6, "big") + bytes((lane,)) + os.urandom(9))


async def sequences(tx: Tx, lanes: Collection[int]) -> dict[int, int]:
    """Return the sequence of each of these lanes. Ask before their runs: a number that is too low adds nothing."""
    return {row["lane"]: row["seq"] for row in await tx.fetch(_SEQUENCES, list(lanes))}


async def live_runs(tx: Tx, lanes: Collection[int]) -> list[Run]:
    """Return the live runs of these lanes, lane by lane."""
    return [_run_of(row) for row in await tx.fetch(_LIVE, list(lanes))]


def _run_of(row: Record) -> Run:
    return Run(UUID(bytes=row["id"].bytes), row["lane"], row["entries"], row["kept_from_us"])


async def add(tx: Tx, runs: Mapping[Run, Columns], seqs: Mapping[int, int]) -> set[int]:
    """Add one live run to each of these lanes, loaded at `seqs`; return the lanes that others have added to since.

    Nothing is added there. Until `tx` ends nobody else adds to the lanes.
    """
    order = sorted(runs, key=lambda run: run.lane)
    rows = await tx.fetch(
        _ADD,
        [run.id for run in order],
        [run.lane for run in order],
        [seqs[run.lane] for run in order],
        [run.entries for run in order],
        [run.kept_from_us for run in order],
    )
    added = {row["lane"] for row in rows}
    await add_chunks(tx, {run.id: runs[run] for run in order if run.lane in added})
    return {run.lane for run in order} - added


async def add_chunks(tx: Tx, entries: Mapping[UUID, Columns]) -> None:
    """Write entries, sorted by key, of these runs."""
    rows = [
        (run, pgproto.UUID(packed[start : start + 16]), packed[start : start + _CHUNK_BYTES])
        for run, columns in entries.items()
        for packed in (pack(columns),)
        for start in range(0, len(packed), _CHUNK_BYTES)
    ]
    await tx.copy_records_to_table("usage_id_chunk", records=rows, columns=["run", "first_key", "entries"])


async def read_small(tx: Tx, runs: Sequence[Run]) -> AsyncIterator[tuple[Run, Columns]]:
    """Yield the entries of each of these runs, several runs by one statement."""
    for start in range(0, len(runs), SMALL_RUNS):
        pieces: dict[UUID, list[bytes]] = {run.id: [] for run in runs[start : start + SMALL_RUNS]}
        for row in await tx.fetch(_READ_SMALL, list(pieces)):
            pieces[UUID(bytes=row["run"].bytes)].append(row["entries"])
        for run in runs[start : start + SMALL_RUNS]:
            yield run, unpack(b"".join(pieces[run.id]))


async def read_large(tx: Tx, run: Run) -> AsyncIterator[Columns]:
    """Yield the entries of a run in pieces, by ascending key."""
    after = UUID(int=0)  # below every key but one that no sender can find
    while rows := await tx.fetch(_READ_LARGE, run.id, after, READ_CHUNKS):
        yield unpack(b"".join(row["entries"] for row in rows))
        after = rows[-1]["first_key"]


async def look_up(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
    """Return (digest, time in microseconds) of those of the keys that stand, by the indexes of the store alone."""
    found: dict[bytes, tuple[int, int]] = {}
    for start in range(0, len(keys), LOOKED_UP_KEYS):
        lot = keys[start : start + LOOKED_UP_KEYS]
        for row in await tx.fetch(_LOOK_UP, [pgproto.UUID(key) for key in lot], [lane_of(key) for key in lot]):
            key, chunk = row["key"].bytes, row["entries"]
            for at in range(0, len(chunk), ENTRY_BYTES):
                if chunk[at : at + 16] == key:
                    found[key] = _number(chunk[at + 16 : at + 24]), _number(chunk[at + 24 : at + 32])
    return found


def _number(piece: bytes) -> int:
    return int.from_bytes(piece, "big", signed=True)


async def begin(tx: Tx, run: Run) -> None:
    """Begin a run that others are merged into. Nobody looks into it until it takes their place."""
    await tx.execute(_BEGIN, run.id, run.lane, run.entries, run.kept_from_us)


async def hold_begun(tx: Tx, run: UUID) -> None:
    """Keep the run that is being written from being given up until `tx` ends; Unavailable where it was."""
    if not await tx.fetchval("SELECT true FROM usage_id_run WHERE id = $1 AND state = 'building' FOR SHARE", run):
        raise Unavailable("the lane was taken anew, and what was being merged is given up")


async def replace(tx: Tx, inputs: Collection[UUID], by: UUID) -> None:
    """Put the run `by`, now written, in the place of its inputs; Unavailable where one of them is not live any more."""
    replaced = await tx.execute(_REPLACE, list(inputs))
    begun = await tx.execute("UPDATE usage_id_run SET state = 'live' WHERE id = $1 AND state = 'building'", by)
    if (replaced, begun) != (f"UPDATE {len(inputs)}", "UPDATE 1"):
        raise Unavailable("the runs of the lane have changed since they were merged")


async def give_up_begun(tx: Tx, lanes: Collection[int]) -> None:
    """Give up what owners before us were writing in these lanes."""
    await tx.execute(_GIVE_UP, list(lanes))


async def forget_before(tx: Tx, cutoff_us: int) -> int:
    """Forget the live runs whose ids are all kept from before `cutoff_us`; return how many ids that is."""
    return sum(row["entries"] for row in await tx.fetch(_FORGET, cutoff_us))


async def hold_gone(tx: Tx) -> Gone:
    """Hold some runs that were replaced or forgotten, and that nobody else holds, until `tx` ends."""
    rows = await tx.fetch(_HOLD_GONE, MAX_GONE)
    of_state = {
        state: [UUID(bytes=row["id"].bytes) for row in rows if row["state"] == state]
        for state in ("replaced", "forgotten")
    }
    return Gone(**of_state)


async def remove_chunks(tx: Tx, gone: Collection[UUID], limit: int) -> dict[UUID, list[bytes]]:
    """Remove at most `limit` chunks of these runs, and the runs that have none then; return what they held."""
    removed: dict[UUID, list[bytes]] = {}
    for row in await tx.fetch(_REMOVE, list(gone), limit):
        removed.setdefault(UUID(bytes=row["run"].bytes), []).append(row["entries"])
    await tx.execute(_REMOVE_EMPTY, list(gone))
    return removed


_SEQUENCES: Final = "SELECT lane::int, seq FROM usage_id_lane WHERE lane = ANY($1::smallint[])"
_LIVE: Final = """
SELECT id, lane::int, entries, kept_from_us FROM usage_id_run
WHERE state = 'live' AND lane = ANY($1::smallint[]) ORDER BY lane, id
"""
# Lanes are locked in their order before they are moved, so that two writers never deadlock.
_ADD: Final = """
WITH given AS (
  SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[])
    AS given (id, lane, seq, entries, kept_from_us)),
held AS MATERIALIZED (
  SELECT mine.lane FROM usage_id_lane AS mine JOIN given USING (lane) ORDER BY mine.lane FOR UPDATE OF mine),
moved AS (
  UPDATE usage_id_lane AS mine SET seq = mine.seq + 1 FROM given JOIN held USING (lane)
  WHERE mine.lane = given.lane AND mine.seq = given.seq RETURNING mine.lane)
INSERT INTO usage_id_run (id, lane, entries, kept_from_us, state)
SELECT id, lane, entries, kept_from_us, 'live' FROM given JOIN moved USING (lane) RETURNING lane
"""
_READ_SMALL: Final = """
SELECT run, entries FROM usage_id_chunk WHERE run = ANY($1::uuid[]) ORDER BY run, first_key
"""
_READ_LARGE: Final = """
SELECT first_key, entries FROM usage_id_chunk WHERE run = $1 AND first_key > $2 ORDER BY first_key LIMIT $3
"""
_LOOK_UP: Final = """
SELECT asked.key, chunk.entries FROM unnest($1::uuid[], $2::smallint[]) AS asked (key, lane)
JOIN usage_id_run AS run ON run.lane = asked.lane AND run.state = 'live'
CROSS JOIN LATERAL (
  SELECT entries FROM usage_id_chunk WHERE usage_id_chunk.run = run.id AND first_key <= asked.key
  ORDER BY first_key DESC LIMIT 1) AS chunk
"""
_BEGIN: Final = """
INSERT INTO usage_id_run (id, lane, entries, kept_from_us, state) VALUES ($1, $2, $3, $4, 'building')
"""
_REPLACE: Final = "UPDATE usage_id_run SET state = 'replaced' WHERE id = ANY($1::uuid[]) AND state = 'live'"
_GIVE_UP: Final = """
UPDATE usage_id_run SET state = 'replaced' WHERE state = 'building' AND lane = ANY($1::smallint[])
"""
_FORGET: Final = """
UPDATE usage_id_run SET state = 'forgotten' WHERE state = 'live' AND kept_from_us < $1 RETURNING entries
"""
_HOLD_GONE: Final = """
SELECT id, state FROM usage_id_run WHERE state IN ('replaced', 'forgotten') LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_REMOVE: Final = """
WITH lot AS MATERIALIZED (
  SELECT run, first_key FROM usage_id_chunk WHERE run = ANY($1::uuid[]) ORDER BY run, first_key LIMIT $2)
DELETE FROM usage_id_chunk AS mine USING lot
WHERE mine.run = lot.run AND mine.first_key = lot.first_key RETURNING mine.run, mine.entries
"""
_REMOVE_EMPTY: Final = """
DELETE FROM usage_id_run AS mine WHERE id = ANY($1::uuid[])
  AND NOT EXISTS (SELECT FROM usage_id_chunk WHERE run = mine.id)
"""
