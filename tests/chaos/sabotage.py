"""Builds that are broken on purpose, to see that the suite notices. Each replaces one thing in a process of a test.

What cannot be seen here: `fsync` skipped, and a file published before its commit. Killing a process loses nothing that
the kernel holds, and there is no such file yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from libs.bus import ownership, sequencing, vouching, writer
from libs.bus.kafka.publisher import KafkaPublisher
from libs.bus.marks import Mark
from libs.bus.offsets import Move, Owned, take
from libs.bus.records import Message, TopicPartition
from libs.bus.relay import Relay
from libs.bus.subscription import Poison
from libs.bus.writer import Piece, Writer
from libs.runtime.crashpoints import crash_point
from libs.store.pool import Tx, transaction
from services.metering.handlers.known_ids import KnownIds

_replaced: list[tuple[object, str, object]] = []


def apply(name: str) -> None:
    """Sabotage this process; an empty name leaves it whole."""
    if name:
        SABOTAGES[name]()


@contextmanager
def sabotaged(name: str) -> Iterator[None]:
    """Sabotage this process while the block runs."""
    apply(name)
    try:
        yield
    finally:
        while _replaced:
            setattr(*_replaced.pop())


def compare_and_set_removed() -> None:
    """Offsets move whoever owns the partition and wherever it stands."""

    async def move(tx: Tx, consumer: str, moves: Sequence[Move]) -> None:
        for one in moves:
            await tx.execute(
                "UPDATE consumer_offset SET next = $4 WHERE consumer = $1 AND topic_id = $2 AND partition = $3",
                consumer,
                one.owned.topic_id,
                one.partition,
                one.to,
            )

    _replace(writer, "move", move)


def dedup_off() -> None:
    """Every event is new."""
    claim = KnownIds.claim

    async def nothing_known(self: KnownIds, tx: Tx, firsts: Mapping[bytes, Any], seen_us: int) -> dict[bytes, int]:
        await claim(self, tx, firsts, seen_us)
        return {}

    _replace(KnownIds, "claim", nothing_known)


def sequences_unchecked() -> None:
    """What a relay published twice is taken twice."""
    _replace(writer, "fresh", lambda records, _stamps, _taken: (list(records), {}))


def stale_owner_keeps_memory() -> None:
    """Whoever owned a partition before reads on from where it remembers, and writes under the newest epoch."""
    remembered: dict[tuple[str, str, TopicPartition], Owned] = {}

    async def from_memory(tx: Tx, *, consumer: str, instance: str, **more: Any) -> dict[TopicPartition, Owned]:
        owned = await take(tx, consumer=consumer, instance=instance, **more)
        for source, mine in owned.items():
            place = (consumer, instance, source)
            known = remembered.setdefault(place, mine)
            owned[source] = Owned(mine.topic_id, known.next, mine.owner_epoch, mine.appended_at_ms, mine.life)
        return owned

    compare_and_set_removed()
    _replace(ownership, "take", from_memory)


def relay_marks_before_publishing() -> None:
    """Outbox rows go before Kafka has them."""

    async def turn(self: Relay) -> int | None:
        async with transaction(self._pool) as tx:
            await sequencing.give_out(tx, self._bus.partitions)
            rows = await sequencing.unpublished(tx)
            await sequencing.forget(tx, [row.id for row in rows])
        if rows:
            crash_point("relay.sequenced")
            await self._bus.publisher.publish([row.message() for row in rows])
        return len(rows)

    _replace(Relay, "_turn", turn)


def offset_before_effect() -> None:
    """The offset moves in a transaction of its own, and the effect follows."""
    commit, handling = Writer._commit, Writer._take

    async def nothing(_self: Writer, _tx: Tx, _piece: Piece, _owned: object) -> list[Poison]:
        return []

    async def offset_then_effect(self: Writer, owned: Any, piece: Piece, ends: Any, positions: Any) -> None:
        _replace(Writer, "_take", nothing)
        try:
            await commit(self, owned, piece, ends, positions)
        finally:
            _replace(Writer, "_take", handling)
        async with transaction(self._pool) as tx:
            await handling(self, tx, piece, owned)

    _replace(Writer, "_commit", offset_then_effect)


def edge_answers_too_soon() -> None:
    """Senders are answered before Kafka has acknowledged anything; relays wait as ever."""
    publish = KafkaPublisher.publish
    under_way: set[asyncio.Task[None]] = set()

    async def answer_first(self: KafkaPublisher, messages: Sequence[Message], *, until_s: float | None = None) -> None:
        if self._name is not None:
            await publish(self, messages, until_s=until_s)
            return
        task = asyncio.create_task(publish(self, messages, until_s=until_s))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    _replace(KafkaPublisher, "publish", answer_first)


def restored_store_unnoticed() -> None:
    """Nobody asks how far the store was."""

    def let(_service: str, _told: Mapping[TopicPartition, Mark], _held: Mapping[TopicPartition, Mark]) -> None:
        return

    _replace(ownership, "refuse_if_behind", let)
    _replace(vouching, "refuse_if_behind", let)


def _replace(of: object, name: str, by: object) -> None:
    _replaced.append((of, name, getattr(of, name)))
    setattr(of, name, by)


SABOTAGES: Final[Mapping[str, Callable[[], None]]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        compare_and_set_removed,
        dedup_off,
        sequences_unchecked,
        stale_owner_keeps_memory,
        relay_marks_before_publishing,
        offset_before_effect,
        edge_answers_too_soon,
        restored_store_unnoticed,
    )
}
