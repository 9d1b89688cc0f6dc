"""What became of events: what came again, what came in conflict, what no meter could take. Which stand: `runs.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from asyncpg.pgproto.pgproto import UUID

from libs.store.pool import Tx
from services.metering.domain.events import UsageEvent
from services.metering.domain.meters import Failed
from services.metering.domain.settling import Conflict, Settled
from services.metering.store import runs

Failures = Sequence[tuple[UsageEvent, Failed]]


async def fingerprint_secret(tx: Tx) -> bytes:
    """Return the secret of this installation."""
    return bytes(await tx.fetchval("SELECT secret FROM fingerprint_secret"))


async def note_again(tx: Tx, settled: Settled) -> None:
    """Count the copies and list the conflicts of a batch."""
    if settled.copies:
        order = sorted(settled.copies)
        await tx.execute(_COPIES, [UUID(key) for key in order], [settled.copies[key] for key in order])
    if settled.conflicts:
        await tx.execute(_CONFLICTS, *_columns(settled.conflicts))


async def note_failures(tx: Tx, failures: Failures) -> None:
    """Keep what a meter could not take."""
    if failures:
        await tx.execute(
            _FAILURES,
            [UUID(event.key) for event, _ in failures],
            [failed.metric for _, failed in failures],
            [event.tenant_id for event, _ in failures],
            [failed.reason for _, failed in failures],
            [failed.detail for _, failed in failures],
        )


async def forget_notes(tx: Tx, keys: Sequence[bytes]) -> None:
    """Forget how often these events came again, and what could not take them."""
    await tx.execute(_FORGET, [UUID(key) for key in keys])


class Standing(NamedTuple):
    """What stands under a key: the digest of its body, and its time."""

    digest: int
    time_us: int


async def standing(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, Standing]:
    """Return what stands under those of the keys that are known."""
    # In this order: an id of before may be moved into a run in between, never back.
    rows = await tx.fetch(_BEFORE, [UUID(key) for key in keys])
    found = {row["key"].bytes: Standing(row["digest"], row["time_us"]) for row in rows}
    in_runs = await runs.look_up(tx, [key for key in keys if key not in found])
    return found | {key: Standing(*entry) for key, entry in in_runs.items()}


@dataclass(frozen=True, slots=True)
class OtherBody:
    """What came under the id of an event that stands, with another body or time."""

    type: str
    time_us: int
    copies: int


@dataclass(frozen=True, slots=True)
class History:
    """What became of one event. `time_us` is None where none stands under its id."""

    time_us: int | None
    copies: int
    conflicts: list[OtherBody]
    failures: list[Failed]
    adjusted_in: list[tuple[str, str]]


async def history(tx: Tx, key: bytes) -> History:
    """Return all that is known of the event with this key; `adjusted_in` lists (metric, period)."""
    own = UUID(key)
    stands = await standing(tx, [key])
    return History(
        time_us=stands[key].time_us if key in stands else None,
        copies=await tx.fetchval("SELECT copies FROM usage_duplicate WHERE key = $1", own) or 0,
        conflicts=[
            OtherBody(row["other_type"], row["other_time_us"], row["copies"])
            for row in await tx.fetch(_CONFLICTS_OF, own)
        ],
        failures=[Failed(row["metric"], row["reason"], row["detail"]) for row in await tx.fetch(_FAILURES_OF, own)],
        adjusted_in=[(row["metric"], row["period"]) for row in await tx.fetch(_ADJUSTED_IN, own)],
    )


def _columns(conflicts: Sequence[Conflict]) -> list[tuple[object, ...]]:
    # One row per (key, digest): an upsert cannot touch a row twice.
    copies = Counter((one.other.key, one.other.digest) for one in conflicts)
    first = {(one.other.key, one.other.digest): one for one in reversed(conflicts)}
    rows = [(*_conflict(first[place]), copies[place]) for place in sorted(copies)]
    return list(zip(*rows, strict=True))


def _conflict(one: Conflict) -> tuple[object, ...]:
    other = one.other
    key, source = UUID(other.key), other.source
    return key, other.digest, one.first_digest, other.tenant_id, source, other.id, other.type, other.time_us


_BEFORE: Final = "SELECT key, digest, time_us FROM usage_event_id WHERE key = ANY($1::uuid[])"
_COPIES: Final = """
INSERT INTO usage_duplicate AS mine (key, copies) SELECT * FROM unnest($1::uuid[], $2::bigint[])
ON CONFLICT (key) DO UPDATE SET copies = mine.copies + excluded.copies
"""
_CONFLICTS: Final = """
INSERT INTO usage_conflict AS mine
  (key, other_digest, first_digest, tenant_id, source, event_id, other_type, other_time_us, copies)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
  $8::bigint[], $9::bigint[])
ON CONFLICT (key, other_digest) DO UPDATE SET copies = mine.copies + excluded.copies
"""
_FAILURES: Final = """
INSERT INTO usage_failure (key, metric, tenant_id, reason, detail)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
ON CONFLICT DO NOTHING
"""
_FORGET: Final = """
WITH copies AS (DELETE FROM usage_duplicate WHERE key = ANY($1::uuid[]))
DELETE FROM usage_failure WHERE key = ANY($1::uuid[])
"""
_CONFLICTS_OF: Final = """
SELECT other_type, other_time_us, copies FROM usage_conflict WHERE key = $1 ORDER BY first_seen_at, other_digest
"""
_FAILURES_OF: Final = "SELECT metric, reason, detail FROM usage_failure WHERE key = $1 ORDER BY metric"
_ADJUSTED_IN: Final = "SELECT metric, period FROM usage_adjustment WHERE key = $1 ORDER BY metric"
