"""What only a person may decide: where to go on when stored offset and log, or a store and its past, do not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from libs.bus.marks import relay_group
from libs.bus.ports import Bus
from libs.bus.subscription import group_of
from libs.runtime.errors import Rejected
from libs.store.epoch import raise_store_epoch, store_life
from libs.store.pool import Pool, transaction

Target = Literal["earliest", "latest"] | int


class BadReset(Rejected):
    """The offset, partition or consumer cannot be what was meant."""

    code = "bad_reset"
    title = "The offset cannot be reset so"


@dataclass(frozen=True, slots=True)
class Reset:
    """What was done. `before_next` is None where the consumer had stored nothing for this partition of this topic."""

    consumer: str
    topic: str
    topic_id: UUID
    partition: int
    before_topic_id: UUID | None
    before_next: int | None
    after_next: int


async def reset_offset(
    pool: Pool, bus: Bus, *, consumer: str, topic: str, partition: int, to: Target, by: str, reason: str
) -> Reset:
    """Let `consumer` go on at `to` in `partition` of `topic` as it now is; the step is kept in consumer_offset_reset.

    A running owner is fenced by a raised owner epoch, reloads, and goes on from there. What was taken stays taken:
    the sequences are kept, so going back repeats no event of ours. Raises BadReset outside the log.
    """
    ids = await bus.topic_ids([topic])
    if topic not in ids:
        raise BadReset(f"there is no topic {topic}")
    starts, ends = await bus.start_offsets(topic), await bus.end_offsets(topic)
    if partition not in starts:
        raise BadReset(f"topic {topic} has partitions 0 to {len(starts) - 1}")
    first, end = starts[partition], ends[partition]
    after = {"earliest": first, "latest": end}.get(to, -1) if isinstance(to, str) else to
    if not first <= after <= end:
        raise BadReset(f"{topic}[{partition}] holds [{first}, {end}): give earliest, latest or an offset in it")
    async with transaction(pool) as tx:
        before = await tx.fetchrow(_BEFORE, consumer, topic, partition)
        await tx.execute(_FORGET, consumer, topic, partition, ids[topic])
        await tx.execute(_SET, consumer, ids[topic], partition, topic, after)
        done = Reset(
            consumer,
            topic,
            ids[topic],
            partition,
            before["topic_id"] if before else None,
            before["next"] if before else None,
            after,
        )
        await tx.execute(
            _NOTE,
            consumer,
            topic,
            done.topic_id,
            partition,
            done.before_topic_id,
            done.before_next,
            after,
            by,
            reason,
        )
    return done


async def raise_epoch(pool: Pool, bus: Bus, *, service: str, reason: str) -> tuple[int, int]:
    """Let the store of `service` go on after it was restored; return its epoch before and now.

    The new epoch is greater than any that its consumers or its relay told the broker: what it says from now on is
    greater than all that it said before. What it did after it was saved it does again, from the offsets that it holds.
    """
    async with transaction(pool) as tx:
        consumers = await tx.fetch("SELECT DISTINCT consumer FROM consumer_offset ORDER BY consumer")
    groups = [relay_group(service), *(group_of(row["consumer"]) for row in consumers)]
    told = [mark for group in groups for mark in (await bus.marks(group)).values()]
    async with transaction(pool) as tx:
        life = await store_life(tx)
        above = max((mark.epoch for mark in told if mark.store_id == life.store_id), default=0)
        return life.epoch, await raise_store_epoch(tx, reason, above=above)


_BEFORE: Final = """
SELECT topic_id, next FROM consumer_offset WHERE consumer = $1 AND topic = $2 AND partition = $3
ORDER BY moved_at DESC LIMIT 1 FOR UPDATE
"""
_FORGET: Final = """
DELETE FROM consumer_offset WHERE consumer = $1 AND topic = $2 AND partition = $3 AND topic_id <> $4
"""
_SET: Final = """
INSERT INTO consumer_offset AS mine (consumer, topic_id, partition, topic, next, instance)
VALUES ($1, $2, $3, $4, $5, '')
ON CONFLICT (consumer, topic_id, partition)
DO UPDATE SET next = excluded.next, owner_epoch = mine.owner_epoch + 1, moved_at = now()
"""
_NOTE: Final = """
INSERT INTO consumer_offset_reset
  (consumer, topic, topic_id, partition, before_topic_id, before_next, after_next, reset_by, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
