"""Which events stand: their keys and digests, what came again, what came in conflict, what no meter could take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from asyncpg.pgproto.pgproto import UUID

from libs.store.pool import Tx
from services.metering.domain.events import UsageEvent
from services.metering.domain.meters import Failed
from services.metering.domain.settling import Conflict, Settled

CLAIM_KEYS: Final = 4_000  # of one statement: writing it out holds the loop for some milliseconds

Failures = Sequence[tuple[UsageEvent, Failed]]


async def fingerprint_secret(tx: Tx) -> bytes:
    """Return the secret of this installation."""
    return bytes(await tx.fetchval("SELECT secret FROM fingerprint_secret"))


async def claim(tx: Tx, firsts: Mapping[bytes, UsageEvent], seen_us: int) -> dict[bytes, int]:
    """Let these events, seen at `seen_us`, stand; return the digests of the keys under which another stood before.

    A rival that claims the same key at once is waited for: one of the two commits it, the other sees it here.
    """
    order = sorted(firsts)
    taken: list[UUID] = []
    for start in range(0, len(order), CLAIM_KEYS):
        keys = order[start : start + CLAIM_KEYS]
        digests, times = [firsts[key].digest for key in keys], [firsts[key].time_us for key in keys]
        rows = await tx.fetch(_CLAIM, [UUID(key) for key in keys], digests, times, seen_us)
        taken += [row["key"] for row in rows]
    # Statements of their own, so that they see what a rival committed while those above waited for it.
    known = await tx.fetch(_DIGESTS, taken) if taken else []
    return {row["key"].bytes: row["digest"] for row in known}


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


async def forget_before(tx: Tx, cutoff_us: int, limit: int) -> int:
    """Forget at most `limit` events that are of before `cutoff_us` and were seen before it; return how many."""
    return int(await tx.fetchval(_FORGET, cutoff_us, limit))


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
    return History(
        time_us=await tx.fetchval("SELECT time_us FROM usage_event_id WHERE key = $1", own),
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


_CLAIM: Final = """
WITH given AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS given (key, digest, time_us)),
added AS (
  INSERT INTO usage_event_id (key, digest, time_us, kept_from_us)
  SELECT key, digest, time_us, greatest(time_us, $4::bigint) FROM given
  ON CONFLICT DO NOTHING RETURNING key)
SELECT given.key FROM given LEFT JOIN added USING (key) WHERE added.key IS NULL
"""
_DIGESTS: Final = "SELECT key, digest FROM usage_event_id WHERE key = ANY($1::uuid[])"
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
WITH old AS (
  DELETE FROM usage_event_id WHERE key IN (
    SELECT key FROM usage_event_id WHERE kept_from_us < $1 LIMIT $2) RETURNING key),
copies AS (DELETE FROM usage_duplicate WHERE key IN (SELECT key FROM old)),
failures AS (DELETE FROM usage_failure WHERE key IN (SELECT key FROM old))
SELECT count(*) FROM old
"""
_CONFLICTS_OF: Final = """
SELECT other_type, other_time_us, copies FROM usage_conflict WHERE key = $1 ORDER BY first_seen_at, other_digest
"""
_FAILURES_OF: Final = "SELECT metric, reason, detail FROM usage_failure WHERE key = $1 ORDER BY metric"
_ADJUSTED_IN: Final = "SELECT metric, period FROM usage_adjustment WHERE key = $1 ORDER BY metric"
