"""What only a person may decide: where to go on when stored offset and log, or a store and its past, do not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from libs.bus.marks import relay_group
from libs.bus.operating import NOT_GIVEN, Operation, record_operation
from libs.bus.ports import Bus, Committed
from libs.bus.subscription import group_of
from libs.runtime.acts import Act
from libs.runtime.errors import Rejected
from libs.store.epoch import raise_store_epoch, store_life
from libs.store.pool import Pool, Tx, transaction

Target = Literal["earliest", "latest"] | int

_CONSUMER: Final = re.compile(r"[a-z]+\.[A-Za-z0-9_.-]+")


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


@dataclass(frozen=True, slots=True)
class Step:
    """What is asked for: `consumer` goes on at `to` in `partition` of `topic` as it now is; by whom, and why.

    `consumer` is `<service>.<purpose>`; raises BadReset for what no consumer is called.
    """

    consumer: str
    topic: str
    partition: int
    to: Target
    act: Act

    def __post_init__(self) -> None:
        if not _CONSUMER.fullmatch(self.consumer):
            raise BadReset(f"{self.consumer!r} is no consumer: they are called <service>.<purpose>")

    def told(self, action: str, **details: object) -> Operation:
        """Return what evidence is told of it."""
        where = {"topic": self.topic, "partition": self.partition}
        return Operation(self.consumer.partition(".")[0], action, f"consumer/{self.consumer}", where | details)


async def reset_offset(pool: Pool, bus: Bus, step: Step) -> Reset:
    """Let a consumer that keeps its offsets in its store go on elsewhere; the step is kept in consumer_offset_reset.

    A running owner is fenced by a raised owner epoch, reloads, and goes on from there. What was taken stays taken:
    the sequences are kept, so going back repeats no event of ours. Raises BadReset outside the log.
    """
    topic_id, after = await _target(bus, step)
    place = (step.consumer, topic_id, step.partition, step.topic, after)
    async with transaction(pool) as tx:
        before = await tx.fetchrow(_BEFORE, step.consumer, step.topic, step.partition)
        await tx.execute(_FORGET, step.consumer, step.topic, step.partition, topic_id)
        await tx.execute(_SET, *place)
        stored = (before["topic_id"], before["next"]) if before else (None, None)
        return await _note(tx, step, stored, (topic_id, after))


async def reset_committed(pool: Pool, bus: Bus, step: Step) -> Reset:
    """Let a consumer that keeps its offsets in the broker go on elsewhere; the step is kept all the same.

    Its processes must be stopped: raises GroupInUse otherwise. Going back forwards the same records again, and whoever
    takes them drops the copies. Raises BadReset outside the log. That it begins is said first: the broker cannot take
    part in a transaction, and no reset may lack its record.
    """
    topic_id, after = await _target(bus, step)
    group = group_of(step.consumer)
    before = (await bus.committed(group, step.topic)).get(step.partition)
    async with transaction(pool) as tx:
        await record_operation(tx, step.act, step.told("consumer_offset.reset_begun", to=after, topic_id=topic_id))
    await bus.commit_for(group, step.topic, {step.partition: Committed(after, topic_id)})
    stored = (None, None) if before is None else (before.topic_id, before.next)
    async with transaction(pool) as tx:
        return await _note(tx, step, stored, (topic_id, after))


async def _target(bus: Bus, step: Step) -> tuple[UUID, int]:
    """Return the topic's id and the offset that is meant; raise BadReset where the log does not hold it."""
    ids = await bus.topic_ids([step.topic])
    if step.topic not in ids:
        raise BadReset(f"there is no topic {step.topic}")
    starts, ends = await bus.start_offsets(step.topic), await bus.end_offsets(step.topic)
    if step.partition not in starts:
        raise BadReset(f"topic {step.topic} has partitions 0 to {len(starts) - 1}")
    first, end = starts[step.partition], ends[step.partition]
    after = {"earliest": first, "latest": end}.get(step.to, -1) if isinstance(step.to, str) else step.to
    if not first <= after <= end:
        raise BadReset(
            f"{step.topic}[{step.partition}] holds [{first}, {end}): give earliest, latest or an offset in it"
        )
    return ids[step.topic], after


async def _note(tx: Tx, step: Step, before: tuple[UUID | None, int | None], now: tuple[UUID, int]) -> Reset:
    """Keep the step, from (topic id, offset) to (topic id, offset), and return it."""
    done = Reset(
        step.consumer,
        step.topic,
        now[0],
        step.partition,
        before_topic_id=before[0],
        before_next=before[1],
        after_next=now[1],
    )
    await tx.execute(
        _NOTE,
        done.consumer,
        done.topic,
        done.topic_id,
        done.partition,
        done.before_topic_id,
        done.before_next,
        done.after_next,
        step.act.actor,
        step.act.reason or NOT_GIVEN,
    )
    was = {"before": done.before_next, "before_topic_id": done.before_topic_id}
    known = {name: value for name, value in was.items() if value is not None}
    told = step.told("consumer_offset.reset", topic_id=done.topic_id, after=done.after_next, **known)
    await record_operation(tx, step.act, told)
    return done


async def raise_epoch(pool: Pool, bus: Bus, *, service: str, act: Act) -> tuple[int, int]:
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
        now = await raise_store_epoch(tx, act.reason or NOT_GIVEN, above=above)
        change = {"before": life.epoch, "after": now, "store_id": life.store_id}
        await record_operation(tx, act, Operation(service, "store_epoch.raised", f"store/{service}", change))
        return life.epoch, now


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
