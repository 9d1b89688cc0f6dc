"""Writing one fetch: the offset's step and the effect in one transaction, and poisoned records set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import asyncpg

from libs.bus import metrics
from libs.bus.deadletters.setting_aside import set_aside, take_replayed
from libs.bus.offsets import Move, Owned, move
from libs.bus.records import Record, TopicPartition
from libs.bus.sequences import Stamp, fresh, last_taken, stamp_of, take_note
from libs.bus.subscription import Poison, PoisonRecords, Subscription
from libs.runtime.crashpoints import crash_point
from libs.runtime.errors import Rejected
from libs.schemas import topics
from libs.store.faults import is_poison, poison_reason
from libs.store.pool import Pool, Tx, transaction

Handle = Callable[[Tx, list[Record]], Awaitable[None]]
HandleEach = Callable[[Tx, list[Record]], Awaitable[list[Poison]]]
Spot = tuple[str, int, int]  # topic, partition, offset

LONE_TRIES: Final = 2  # a record that fails alone is tried once more: a rival's row may have made it fail


@dataclass(frozen=True, slots=True)
class Piece:
    """Records that are written in one transaction. Those in `dead` (by topic, partition, offset) are set aside.

    One that is `suspect` held poison when it was tried: there may be more.
    """

    records: Sequence[Record]
    dead: Mapping[Spot, Poison] = field(default_factory=dict)
    tries: int = 0
    suspect: bool = False

    def part(self, start: int, end: int | None) -> Piece:
        """Return `records[start:end]` as a piece of its own."""
        records = self.records[start:end]
        return Piece(records, {spot: self.dead[spot] for one in records if (spot := spot_of(one)) in self.dead})

    def is_all_dead(self) -> bool:
        """Return whether nothing in it is handled any more."""
        return len(self.dead) == len(self.records)


def spot_of(record: Record) -> Spot:
    """Return what tells `record` from all others."""
    return record.topic, record.partition, record.offset


def without(piece: Piece, poisons: Sequence[Poison]) -> list[Piece]:
    """Return `piece` with the poisons set aside: up to the last of them, and what stands after it."""
    named = {spot_of(poison.record): poison for poison in poisons}
    cut = 1 + max(at for at, one in enumerate(piece.records) if spot_of(one) in named)
    first = piece.part(0, cut)
    whole = [replace(first, dead={**first.dead, **named}), piece.part(cut, None)]
    return [one for one in whole if one.records]


def halves(piece: Piece, reason: str, cause: str) -> list[Piece]:
    """Return the two halves of `piece`; a lone record once more, then set aside."""
    if len(piece.records) > 1:
        middle = len(piece.records) // 2
        return [piece.part(0, middle), piece.part(middle, None)]
    tries = piece.tries + 1
    if tries < LONE_TRIES:
        return [replace(piece, tries=tries)]
    return without(piece, [Poison(piece.records[0], reason, cause)])


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

    def __init__(
        self,
        pool: Pool,
        subscription: Subscription,
        handle: Handle,
        discard: Callable[[], None],
        handle_each: HandleEach | None = None,
    ) -> None:
        """Wire it. `discard` makes the handler forget what a rolled-back transaction may have left in its memory.

        `handle_each` takes records one by one and returns those that are poison, in the same transaction; without it
        poison is searched by further transactions.
        """
        self._pool = pool
        self._consumer = subscription.consumer
        self._handle = handle
        self._handle_each = handle_each
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
            except (PoisonRecords, Rejected, asyncpg.PostgresError) as error:
                self._discard()
                one_by_one = isinstance(error, PoisonRecords) and self._handle_each and not piece.suspect
                waiting = ([replace(piece, suspect=True)] if one_by_one else _taken_apart(piece, error)) + waiting

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
            dead = await self._take(tx, piece, owned)
            crash_point("consumer.effect")
        crash_point("consumer.committed")
        for source, last in steps.items():
            owned[source] = replace(owned[source], next=reached[source], appended_at_ms=last.appended_at_ms)
        self._count(piece, dead)

    async def _take(self, tx: Tx, piece: Piece, owned: Mapping[TopicPartition, Owned]) -> list[Poison]:
        """Handle what was not taken before and set the dead aside; return these."""
        stamps = self._stamps(piece.records)
        taken = await last_taken(tx, self._consumer, [stamp.lane for stamp in stamps.values()])
        passed, news = fresh(piece.records, stamps, taken)
        if len(passed) < len(piece.records):
            passed = await self._with_replayed(tx, piece.records, stamps, passed)
        dead = await self._handle_alive(tx, piece, passed)
        for poison in dead:
            record = poison.record
            stamp = stamp_of(record, compacted=record.topic in self._compacted)
            topic_id = owned[record.source].topic_id
            await set_aside(tx, poison, consumer=self._consumer, topic_id=topic_id, stamp=stamp)
        await take_note(tx, self._consumer, news)
        return dead

    async def _handle_alive(self, tx: Tx, piece: Piece, passed: list[Record]) -> list[Poison]:
        """Handle what is not known to be poison; return what is, by now."""
        if piece.suspect and self._handle_each is not None:
            return await self._handle_each(tx, passed)
        dead = [piece.dead[spot] for record in passed if (spot := spot_of(record)) in piece.dead] if piece.dead else []
        alive = [record for record in passed if spot_of(record) not in piece.dead] if piece.dead else passed
        if alive:
            await self._handle(tx, alive)
        return dead

    def _stamps(self, records: Sequence[Record]) -> dict[int, Stamp]:
        return {
            index: stamp
            for index, record in enumerate(records)
            if (stamp := stamp_of(record, compacted=record.topic in self._compacted)) is not None
        }

    async def _with_replayed(
        self, tx: Tx, records: Sequence[Record], stamps: Mapping[int, Stamp], passed: Sequence[Record]
    ) -> list[Record]:
        """Return `passed` and, in their places, records that we set aside once and that a person had replayed."""
        fresh_spots = {spot_of(record) for record in passed}
        stale = {index: stamp for index, stamp in stamps.items() if spot_of(records[index]) not in fresh_spots}
        again = await take_replayed(tx, self._consumer, stale)
        return [record for index, record in enumerate(records) if index in again or spot_of(record) in fresh_spots]

    def _count(self, piece: Piece, dead: Sequence[Poison]) -> None:
        """Once a transaction, not once a record."""
        for topic, count in Counter(record.topic for record in piece.records).items():
            metrics.RECORDS.add(count, {"consumer": self._consumer, "topic": topic})
        for poison in dead:
            labels = {"consumer": self._consumer, "topic": poison.record.topic, "reason": poison.reason}
            metrics.DEAD_LETTERS.add(1, labels)


def _taken_apart(piece: Piece, error: PoisonRecords | Rejected | asyncpg.PostgresError) -> list[Piece]:
    """Return the pieces to go on with after `piece` was refused; raise `error` where it is not about the values."""
    if piece.is_all_dead():
        raise error  # not even setting it aside works: that is ours to mend
    if isinstance(error, PoisonRecords):
        return without(piece, error.poisons)
    if isinstance(error, Rejected):
        return halves(piece, error.code, error.detail)
    if is_poison(error):
        return halves(piece, poison_reason(error), str(error))
    raise error
