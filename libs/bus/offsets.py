"""Stored offsets: who owns a partition, from where it is read, and the one statement that moves it.

The row is locked from the first statement of an effect's transaction to its commit, so that a new owner, who raises the
owner epoch on the same row, sees either all of the old owner's effect or none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from libs.bus.marks import Mark
from libs.bus.records import TopicPartition
from libs.runtime.errors import Broken
from libs.store.epoch import StoreLife, store_life
from libs.store.pool import Tx

BUS_MIGRATIONS: Final = Path(__file__).parent / "migrations"
UNKNOWN_LIFE: Final = StoreLife(UUID(int=0), 0)
_NOTHING: Final = (-1, -1)  # the owner epoch and offset of a partition that was never taken: behind every other


class NotOwner(Exception):
    """A check failed: someone else moved the offset or owns the partition. Memory is worthless; load again."""


class Replaced(Broken):
    """A newer process runs under the same instance name."""

    code = "consumer_replaced"
    title = "A newer process of this instance has taken over"


@dataclass(frozen=True, slots=True)
class Owned:
    """A partition that we own: the broker's topic id, where to read on, and the epoch that every write must show.

    `appended_at_ms` is when the last record taken was appended, None before the first. `life` is the store's, as it was
    when the partition was taken.
    """

    topic_id: UUID
    next: int
    owner_epoch: int
    appended_at_ms: int | None = None
    life: StoreLife = UNKNOWN_LIFE

    def mark(self) -> Mark:
        """Return how far the store is here."""
        return Mark(self.life.store_id, self.topic_id, self.life.epoch, self.owner_epoch, self.next)


@dataclass(frozen=True, slots=True)
class Move:
    """One partition's step: `owned.next` to `to`, the last record taken appended at `appended_at_ms`."""

    owned: Owned
    partition: int
    to: int
    appended_at_ms: int


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One process among those that ever ran as `instance` of `consumer`; the greatest number is the living one."""

    consumer: str
    instance: str
    number: int


async def begin_incarnation(tx: Tx, consumer: str, instance: str) -> int:
    """Say that a new process of `instance` runs, and return its number; older ones will find out and stop."""
    return int(await tx.fetchval(_BEGIN, consumer, instance))


async def hold_incarnation(tx: Tx, me: Incarnation) -> None:
    """Raise Replaced unless `me` is the living process of its instance; until `tx` ends, none replaces it.

    Waits for other transactions that hold it: also for one of our own whose end we did not hear of.
    """
    if await tx.fetchval(_HOLD, me.consumer, me.instance) != me.number:
        raise _replaced(me.consumer, me.instance)


async def known_ids(tx: Tx, consumer: str, topics: Collection[str]) -> dict[TopicPartition, set[UUID]]:
    """Return the topic ids under which `consumer` has stored an offset, for each partition of `topics`."""
    found: dict[TopicPartition, set[UUID]] = {}
    for row in await tx.fetch(_KNOWN, consumer, list(topics)):
        found.setdefault(TopicPartition(row["topic"], row["partition"]), set()).add(row["topic_id"])
    return found


async def held_marks(tx: Tx, consumer: str, topic_ids: Mapping[TopicPartition, UUID]) -> dict[TopicPartition, Mark]:
    """Return how far the store is in each of these partitions; behind everything where it has no offset."""
    life = await store_life(tx)
    held = {source: Mark(life.store_id, topic_id, life.epoch, *_NOTHING) for source, topic_id in topic_ids.items()}
    for row in await tx.fetch(_HELD, consumer, list(set(topic_ids.values()))):
        source = TopicPartition(row["topic"], row["partition"])
        if source in held:
            held[source] = Mark(life.store_id, row["topic_id"], life.epoch, row["owner_epoch"], row["next"])
    return held


async def take(
    tx: Tx, *, consumer: str, instance: str, incarnation: int, starts: Mapping[TopicPartition, tuple[UUID, int]]
) -> dict[TopicPartition, Owned]:
    """Own these partitions: raise each owner epoch and load `next`; a row is made at the given offset if there is none.

    `starts` maps each partition to (topic id, the log's start). Raises Replaced where a newer process took our name.
    """
    if await tx.fetchval(_INCARNATION, consumer, instance) != incarnation:
        raise _replaced(consumer, instance)
    life = await store_life(tx)
    order = sorted(starts)
    ids = [starts[one][0] for one in order]
    numbers = [one.partition for one in order]
    topics, offsets = [one.topic for one in order], [starts[one][1] for one in order]
    await tx.execute(_INSERT, consumer, ids, numbers, topics, offsets, instance)
    rows = await tx.fetch(_TAKE, consumer, ids, numbers, instance)
    return {
        TopicPartition(row["topic"], row["partition"]): Owned(
            row["topic_id"], row["next"], row["owner_epoch"], row["appended_at_ms"], life
        )
        for row in rows
    }


async def move(tx: Tx, consumer: str, moves: Sequence[Move]) -> None:
    """Move all offsets or raise NotOwner: each from exactly the `next` that was loaded, under exactly our epoch."""
    moved = await tx.fetch(
        _MOVE,
        consumer,
        [one.owned.topic_id for one in moves],
        [one.partition for one in moves],
        [one.owned.next for one in moves],
        [one.owned.owner_epoch for one in moves],
        [one.to for one in moves],
        [one.appended_at_ms for one in moves],
    )
    if len(moved) != len(moves):
        raise NotOwner(
            f"{len(moves) - len(moved)} of {len(moves)} partitions of {consumer} have another owner or offset"
        )


def _replaced(consumer: str, instance: str) -> Replaced:
    return Replaced(f"a newer process runs as instance {instance} of {consumer}; give each its own MAESTRO_INSTANCE")


async def hold_ownership(tx: Tx, consumer: str, partition: int, owned: Owned) -> None:
    """Raise NotOwner unless the partition is ours; until `tx` ends nobody takes it, and its offset does not move.

    For what an owner writes beside its batches.
    """
    if await tx.fetchval(_HOLD_OWNERSHIP, consumer, owned.topic_id, partition) != owned.owner_epoch:
        raise NotOwner(f"partition {partition} of {consumer} has another owner")


_BEGIN: Final = """
INSERT INTO consumer_instance (consumer, instance, incarnation) VALUES ($1, $2, 1)
ON CONFLICT (consumer, instance) DO UPDATE SET incarnation = consumer_instance.incarnation + 1, started_at = now()
RETURNING incarnation
"""
_INCARNATION: Final = "SELECT incarnation FROM consumer_instance WHERE consumer = $1 AND instance = $2 FOR SHARE"
_HOLD: Final = "SELECT incarnation FROM consumer_instance WHERE consumer = $1 AND instance = $2 FOR UPDATE"
_KNOWN: Final = "SELECT topic, partition, topic_id FROM consumer_offset WHERE consumer = $1 AND topic = ANY($2::text[])"
_HELD: Final = """
SELECT topic, partition, topic_id, owner_epoch, next FROM consumer_offset WHERE consumer = $1 AND topic_id = ANY($2)
"""
_INSERT: Final = """
INSERT INTO consumer_offset (consumer, topic_id, partition, topic, next, instance)
SELECT $1, wanted.topic_id, wanted.partition, wanted.topic, wanted.next, $6
FROM unnest($2::uuid[], $3::int[], $4::text[], $5::bigint[]) AS wanted (topic_id, partition, topic, next)
ORDER BY wanted.topic_id, wanted.partition
ON CONFLICT DO NOTHING
"""
_HOLD_OWNERSHIP: Final = """
SELECT owner_epoch FROM consumer_offset WHERE consumer = $1 AND topic_id = $2 AND partition = $3 FOR SHARE
"""
# Rows are locked in key order before they are changed, here and below, so that two owners never deadlock.
_TAKE: Final = """
WITH held AS MATERIALIZED (
  SELECT topic_id, partition FROM consumer_offset
  WHERE consumer = $1 AND (topic_id, partition) IN (SELECT * FROM unnest($2::uuid[], $3::int[]))
  ORDER BY topic_id, partition FOR UPDATE)
UPDATE consumer_offset AS mine SET owner_epoch = owner_epoch + 1, instance = $4
FROM held WHERE mine.consumer = $1 AND mine.topic_id = held.topic_id AND mine.partition = held.partition
RETURNING mine.topic, mine.topic_id, mine.partition, mine.next, mine.owner_epoch, mine.appended_at_ms
"""
_MOVE: Final = """
WITH steps AS (
  SELECT * FROM unnest($2::uuid[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    AS step (topic_id, partition, from_next, owner_epoch, to_next, appended_at_ms)),
held AS MATERIALIZED (
  SELECT mine.topic_id, mine.partition FROM consumer_offset AS mine
  JOIN steps USING (topic_id, partition)
  WHERE mine.consumer = $1 ORDER BY mine.topic_id, mine.partition FOR UPDATE OF mine)
UPDATE consumer_offset AS mine SET next = steps.to_next, appended_at_ms = steps.appended_at_ms, moved_at = now()
FROM steps JOIN held USING (topic_id, partition)
WHERE mine.consumer = $1 AND mine.topic_id = steps.topic_id AND mine.partition = steps.partition
  AND mine.next = steps.from_next AND mine.owner_epoch = steps.owner_epoch
RETURNING 1
"""
