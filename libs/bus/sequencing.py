"""Giving out (epoch, seq): every outbox row gets the next number of its partition, once, before it is published."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.bus.envelope import EPOCH, ID, SEQ, TIME
from libs.bus.marks import ANY_TOPIC, Mark
from libs.bus.partitioner import partition_of
from libs.bus.records import Headers, Message, TopicPartition
from libs.schemas.values import rfc3339
from libs.store.epoch import store_epoch, store_life
from libs.store.pool import Tx

BATCH_ROWS: Final = 500  # of one turn: some milliseconds of work, so that the lease is renewed often
BATCH_BYTES: Final = 8 * 1024 * 1024  # of one turn, unless a single row is larger


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row with its place: `partition` is fixed with the sequence, whatever the topic's partition count later is."""

    id: int
    event_id: UUID
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    stamped: bool
    created_at: datetime
    partition: int
    epoch: int
    seq: int

    def message(self) -> Message:
        """Return what is published: the same bytes each time it is done."""
        own: Headers = ()
        if self.stamped:
            own = (
                (ID, str(self.event_id).encode("ascii")),
                (TIME, rfc3339(self.created_at).encode("ascii")),
                (EPOCH, str(self.epoch).encode("ascii")),
                (SEQ, str(self.seq).encode("ascii")),
            )
        return Message(self.topic, self.key, self.value, own + self.headers, self.partition)


async def anything_said(tx: Tx) -> bool:
    """Return whether the outbox has a row."""
    return await tx.fetchval("SELECT true FROM outbox ORDER BY id LIMIT 1") is not None


async def unpublished(tx: Tx) -> list[OutboxRow]:
    """Return the rows that have a sequence and are not known to be published, in order of sequence per partition."""
    rows = await tx.fetch(_UNPUBLISHED)
    return [
        OutboxRow(
            id=row["id"],
            event_id=row["event_id"],
            topic=row["topic"],
            key=row["key"],
            value=row["value"],
            headers=tuple(
                (name.decode("utf-8"), value)
                for name, value in zip(row["header_names"], row["header_values"], strict=True)
            ),
            stamped=row["stamped"],
            created_at=row["created_at"],
            partition=row["partition"],
            epoch=row["epoch"],
            seq=row["seq"],
        )
        for row in rows
    ]


async def give_out(tx: Tx, partitions: Callable[[str], Awaitable[int]]) -> int:
    """Give a sequence to the next rows without one, in the order they were said; return how many.

    Call it under the lease (`libs.bus.lease.hold`) only. `partitions` returns a topic's partition count.
    """
    rows = await tx.fetch(_UNSEQUENCED, BATCH_ROWS, BATCH_BYTES)
    if not rows:
        return 0
    counts = {topic: await partitions(topic) for topic in {row["topic"] for row in rows}}
    targets = [TopicPartition(row["topic"], partition_of(row["key"], counts[row["topic"]])) for row in rows]
    epoch = await store_epoch(tx)
    last = await _last_given(tx, sorted(set(targets)), epoch)
    numbers: list[int] = []
    for target in targets:
        last[target] += 1
        numbers.append(last[target])
    await tx.execute(_ASSIGN, [row["id"] for row in rows], [one.partition for one in targets], numbers, epoch)
    order = sorted(last)
    await tx.execute(
        _REMEMBER, [one.topic for one in order], [one.partition for one in order], [last[one] for one in order], epoch
    )
    return len(rows)


async def forget(tx: Tx, ids: Sequence[int]) -> None:
    """Delete rows that are durable in Kafka."""
    await tx.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", ids)


async def held_marks(tx: Tx, sources: Collection[TopicPartition]) -> dict[TopicPartition, Mark]:
    """Return the last sequence given out for each of `sources` in the store's present epoch, 0 where none was."""
    life = await store_life(tx)
    last = await _last_given(tx, sorted(sources), life.epoch)
    return {source: Mark(life.store_id, ANY_TOPIC, life.epoch, 0, seq) for source, seq in last.items()}


async def _last_given(tx: Tx, targets: Sequence[TopicPartition], epoch: int) -> dict[TopicPartition, int]:
    # A raised store epoch starts its numbers at one: (epoch, seq) is greater than anything before.
    rows = await tx.fetch(_LAST, [one.topic for one in targets], [one.partition for one in targets], epoch)
    found = {TopicPartition(row["topic"], row["partition"]): int(row["seq"]) for row in rows}
    return {target: found.get(target, 0) for target in targets}


_UNPUBLISHED: Final = """
SELECT id, event_id, topic, key, value, header_names, header_values, stamped, created_at, partition, epoch, seq
FROM outbox WHERE seq IS NOT NULL ORDER BY topic, partition, epoch, seq
"""
_UNSEQUENCED: Final = """
SELECT id, topic, key FROM (
  SELECT id, topic, key, sum(size_bytes) OVER (ORDER BY id) - size_bytes AS bytes_before FROM (
    SELECT id, topic, key, size_bytes FROM outbox WHERE seq IS NULL ORDER BY id LIMIT $1) AS next_rows) AS measured
WHERE bytes_before < $2 ORDER BY id
"""
_LAST: Final = """
SELECT topic, partition, seq FROM outbox_sequence
WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::int[])) AND epoch = $3
"""
_ASSIGN: Final = """
UPDATE outbox SET partition = given.partition, seq = given.seq, epoch = $4
FROM unnest($1::bigint[], $2::int[], $3::bigint[]) AS given (id, partition, seq) WHERE outbox.id = given.id
"""
_REMEMBER: Final = """
INSERT INTO outbox_sequence (topic, partition, seq, epoch)
SELECT given.*, $4::bigint FROM unnest($1::text[], $2::int[], $3::bigint[]) AS given
ON CONFLICT (topic, partition) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
"""
