"""The register of dead letters in the database of the service whose consumer set them aside (table dead_letter)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import asyncpg

from libs.bus.operating import NOT_GIVEN, Operation, record_operation
from libs.runtime.acts import Act
from libs.store.pool import Tx

State = Literal["waiting", "replaying", "replayed", "dropped"]
Step = Literal["replay", "drop"]

MOST_LISTED: Final = 10_000  # of one look; whoever has more waiting narrows it down
EXPIRED_ROWS: Final = 10_000  # forgotten in one statement


@dataclass(frozen=True, slots=True)
class Entry:
    """One letter: where the record lay, who could not take it and why, what identifies it, and what became of it.

    `taken_at` is when the consumer took the replayed copy; only events of ours can tell that.
    """

    id: int
    consumer: str
    topic: str
    topic_id: UUID
    partition: int
    offset: int
    reason: str
    cause: str
    trace_id: str | None
    digest: str
    size_bytes: int
    by_reference: bool
    appended_at: datetime
    dead_at: datetime
    state: State
    taken_at: datetime | None

    @property
    def place(self) -> tuple[str, str, int, int]:
        """What tells this letter from all others of its dead letter topic."""
        return self.consumer, self.topic, self.partition, self.offset


@dataclass(frozen=True, slots=True)
class Sought:
    """Which letters are meant; what is None or empty narrows nothing down."""

    ids: Collection[int] = ()
    topic: str | None = None
    consumer: str | None = None
    reason: str | None = None
    states: Collection[State] = ()
    limit: int = MOST_LISTED


@dataclass(frozen=True, slots=True)
class Taken:
    """What a person did with a letter, and why."""

    step: Step
    by: str
    reason: str
    at: datetime


async def find(tx: Tx, sought: Sought) -> list[Entry]:
    """Return the letters that are meant, oldest first."""
    rows = await tx.fetch(
        _FIND,
        list(sought.ids) or None,
        sought.topic,
        sought.consumer,
        sought.reason,
        list(sought.states) or None,
        sought.limit,
    )
    return [_entry(row) for row in rows]


async def begin(tx: Tx, entry: Entry, act: Act) -> bool:
    """Note that the letter is being replayed, and so its consumer takes the copy; False where it took one before."""
    if await tx.fetchval(_BEGIN, entry.id) is None:
        return False
    await _note(tx, entry, "replay", act)
    return True


async def finish(tx: Tx, ids: Collection[int]) -> None:
    """Note that the copies of these letters are durable on their topics."""
    await tx.execute("UPDATE dead_letter SET state = 'replayed' WHERE id = ANY($1::bigint[])", list(ids))


async def drop(tx: Tx, entry: Entry, act: Act) -> bool:
    """Give the letter up, for good; return False where it was not waiting any more."""
    if await tx.fetchval(_DROP, entry.id) is None:
        return False
    await _note(tx, entry, "drop", act)
    return True


async def steps_of(tx: Tx, entry: Entry) -> list[Taken]:
    """Return what was done with the letter, oldest first."""
    rows = await tx.fetch(_STEPS, entry.id)
    return [Taken(row["step"], row["taken_by"], row["reason"], row["taken_at"]) for row in rows]


async def waiting_counts(tx: Tx) -> Mapping[tuple[str, str], int]:
    """Return how many letters wait for a decision, by consumer and topic."""
    return {(row["consumer"], row["topic"]): row["count"] for row in await tx.fetch(_WAITING)}


async def forget_expired(tx: Tx, topic: str, kept_h: int) -> None:
    """Forget letters whose record the dead letter topic, which keeps it for `kept_h` hours, has forgotten."""
    await tx.execute(_FORGET, topic, kept_h, EXPIRED_ROWS)


async def _note(tx: Tx, entry: Entry, step: Step, act: Act) -> None:
    why = act.reason or NOT_GIVEN
    await tx.execute(_NOTE, entry.id, *entry.place, entry.digest, step, act.actor, why)
    names = ("consumer", "topic", "partition", "offset")
    told = dict(zip(names, entry.place, strict=True)) | {"digest": entry.digest}
    service = entry.consumer.partition(".")[0]
    await record_operation(tx, act, Operation(service, _ACTIONS[step], f"dead_letter/{entry.id}", told))


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(
        id=row["id"],
        consumer=row["consumer"],
        topic=row["topic"],
        topic_id=row["topic_id"],
        partition=row["partition"],
        offset=row["record_offset"],
        reason=row["reason"],
        cause=row["cause"],
        trace_id=row["trace_id"],
        digest=row["digest"],
        size_bytes=row["size_bytes"],
        by_reference=row["by_reference"],
        appended_at=row["appended_at"],
        dead_at=row["dead_at"],
        state=row["state"],
        taken_at=row["taken_at"],
    )


# A replay is said as it begins: the broker takes no part in a transaction, and no record is sent without one.
_ACTIONS: Final[Mapping[Step, str]] = {"replay": "dead_letter.replay_begun", "drop": "dead_letter.dropped"}
_FIND: Final = """
SELECT * FROM dead_letter
WHERE ($1::bigint[] IS NULL OR id = ANY($1)) AND ($2::text IS NULL OR topic = $2)
  AND ($3::text IS NULL OR consumer = $3) AND ($4::text IS NULL OR reason = $4)
  AND ($5::text[] IS NULL OR state = ANY($5))
ORDER BY id LIMIT $6
"""
_BEGIN: Final = "UPDATE dead_letter SET state = 'replaying' WHERE id = $1 AND taken_at IS NULL RETURNING id"
_DROP: Final = """
UPDATE dead_letter SET state = 'dropped'
WHERE id = $1 AND state IN ('waiting', 'replaying') AND taken_at IS NULL RETURNING id
"""
_NOTE: Final = """
INSERT INTO dead_letter_step (letter_id, consumer, topic, partition, record_offset, digest, step, taken_by, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_STEPS: Final = "SELECT step, taken_by, reason, taken_at FROM dead_letter_step WHERE letter_id = $1 ORDER BY id"
_WAITING: Final = """
SELECT consumer, topic, count(*) AS count FROM dead_letter WHERE state IN ('waiting', 'replaying')
GROUP BY consumer, topic
"""
_FORGET: Final = """
DELETE FROM dead_letter WHERE id IN (
  SELECT id FROM dead_letter WHERE topic = $1 AND dead_at < now() - make_interval(hours => $2) LIMIT $3)
"""
