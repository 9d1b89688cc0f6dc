"""Writing one fetch: the offset's step and the effect in one transaction, and the poisoned record set aside alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import asyncpg

from libs.bus.offsets import Move, Owned, move
from libs.bus.outbox import say_dead
from libs.bus.records import Record, TopicPartition
from libs.bus.sequences import fresh, last_taken, stamp_of, take_note
from libs.bus.subscription import PoisonRecord, Subscription
from libs.runtime.crashpoints import crash_point
from libs.runtime.errors import Rejected
from libs.schemas import topics
from libs.store.faults import is_poison
from libs.store.pool import Pool, Tx, transaction

Handle = Callable[[Tx, list[Record]], Awaitable[None]]

LONE_TRIES: Final = 2  # a record that fails alone is tried once more: a rival's row may have made it fail


@dataclass(frozen=True, slots=True)
class Piece:
    """Records that are written in one transaction. With a `dead` reason they are set aside instead of handled."""

    records: Sequence[Record]
    dead: str | None = None
    tries: int = 0


def without(piece: Piece, poison: PoisonRecord) -> list[Piece]:
    """Return `piece` as what stands before the poisoned record, the record, and what stands after it, in that order."""
    at = piece.records.index(poison.record)
    before, after = piece.records[:at], piece.records[at + 1 :]
    whole = [Piece(before), Piece([poison.record], dead=poison.reason), Piece(after)]
    return [one for one in whole if one.records]


def halves(piece: Piece, reason: str) -> list[Piece]:
    """Return the two halves of `piece`; a lone record once more, then set aside."""
    if len(piece.records) == 1:
        tries = piece.tries + 1
        return [Piece(piece.records, tries=tries) if tries < LONE_TRIES else Piece(piece.records, dead=reason)]
    middle = len(piece.records) // 2
    return [Piece(piece.records[:middle]), Piece(piece.records[middle:])]


def last_of_each(records: Sequence[Record]) -> dict[TopicPartition, Record]:
    """Return the last record of every partition. The records of a partition stand together: one comparison each."""
    lasts: dict[TopicPartition, Record] = {}
    for record, following in pairwise(records):
        if record.partition != following.partition or record.topic != following.topic:
            lasts[record.source] = record
    if records:
        lasts[records[-1].source] = records[-1]
    return lasts


class Writer:
    """Writes for one consumer. `owned` is kept in step with what is committed."""

    def __init__(self, pool: Pool, subscription: Subscription, handle: Handle, discard: Callable[[], None]) -> None:
        """Wire it. `discard` makes the handler forget what a rolled-back transaction may have left in its memory."""
        self._pool = pool
        self._consumer = subscription.consumer
        self._handle = handle
        self._discard = discard
        self._compacted = {name for name in subscription.topics if topics.topic(name).cleanup == "compact"}

    async def write(
        self,
        owned: dict[TopicPartition, Owned],
        records: Sequence[Record],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """Write `records` (in order of topic, partition, offset) in as few transactions as their poison allows.

        `positions` is where reading stands after them. Raises NotOwner or Unavailable: memory is worthless then.
        """
        ends = {source: last.offset for source, last in last_of_each(records).items()}
        waiting = [Piece(records)]
        while waiting:
            piece = waiting.pop(0)
            try:
                await self._commit(owned, piece, ends, positions)
            except (PoisonRecord, Rejected, asyncpg.PostgresError) as error:
                self._discard()
                waiting = _taken_apart(piece, error) + waiting

    async def _commit(
        self,
        owned: dict[TopicPartition, Owned],
        piece: Piece,
        ends: Mapping[TopicPartition, int],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        steps = last_of_each(piece.records)
        reached = {
            source: positions[source] if last.offset == ends[source] else last.offset + 1
            for source, last in steps.items()
        }
        moves = [
            Move(owned[source], source.partition, reached[source], last.appended_at_ms)
            for source, last in sorted(steps.items())
        ]
        async with transaction(self._pool) as tx:
            await move(tx, self._consumer, moves)
            await self._take(tx, piece)
            crash_point("consumer.effect")
        crash_point("consumer.committed")
        for source, last in steps.items():
            owned[source] = replace(owned[source], next=reached[source], appended_at_ms=last.appended_at_ms)

    async def _take(self, tx: Tx, piece: Piece) -> None:
        stamps = {
            index: stamp
            for index, record in enumerate(piece.records)
            if (stamp := stamp_of(record, compacted=record.topic in self._compacted)) is not None
        }
        taken = await last_taken(tx, self._consumer, [stamp.lane for stamp in stamps.values()])
        passed, news = fresh(piece.records, stamps, taken)
        if piece.dead is not None:
            for record in passed:
                await say_dead(tx, record, consumer=self._consumer, reason=piece.dead)
        elif passed:
            await self._handle(tx, passed)
        await take_note(tx, self._consumer, news)


def _taken_apart(piece: Piece, error: PoisonRecord | Rejected | asyncpg.PostgresError) -> list[Piece]:
    """Return the pieces to go on with after `piece` was refused; raise `error` where it is not about the values."""
    if piece.dead is not None:
        raise error  # not even setting it aside works: that is ours to mend
    if isinstance(error, PoisonRecord):
        return without(piece, error)
    if isinstance(error, Rejected) or is_poison(error):
        return halves(piece, f"{type(error).__name__}: {error}")
    raise error
