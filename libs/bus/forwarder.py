"""Consuming without a store: what follows from records is made durable elsewhere, then the group's offsets move.

At least once: whoever dies in between has the same records again, also as another process. So what is forwarded must be
told apart from its copy by whoever takes it. Offsets lie in the broker, with the topic's id, so that a topic made again
is noticed, and the append time of the last record, so that any process can tell how far the forwarding is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from uuid import UUID

from libs.bus.member import Member
from libs.bus.ports import Bus, Committed, Fetched, Offsets, Subscriber
from libs.bus.records import Record, TopicPartition
from libs.bus.subscription import Subscription, offset_lost
from libs.bus.writer import last_of_each
from libs.runtime.errors import Unavailable

Forward = Callable[[Sequence[Record]], Awaitable[None]]
"""Returns when what follows from the records is durable; raises Unavailable to have them again."""


class Forwarder(Member):
    """Gives fetches, in order of (topic, partition, offset), to `forward`, and commits behind them.

    The first time it reads from the log's start. Where the broker holds an offset, it goes on exactly there, or stops.
    """

    def __init__(self, bus: Bus, subscription: Subscription, forward: Forward, *, random: Random | None = None) -> None:
        """Wire the forwarder; `run` starts it. The subscription says that its offsets are kept in the broker."""
        super().__init__(bus, subscription, random)
        self._forward = forward
        self._marks: dict[TopicPartition, Committed] = {}
        self._known_ids: dict[str, UUID] = {}

    async def _begin(self) -> None:
        """Nothing is to be done before joining: the group's generation fences who was replaced."""

    async def _take(self, subscriber: Subscriber, partitions: frozenset[TopicPartition]) -> Offsets:
        ids = await self._ids()
        self._refuse_recreated(partitions, ids)
        kept: dict[TopicPartition, Committed] = {}
        for topic in {source.topic for source in partitions}:
            kept |= await self._kept({one for one in partitions if one.topic == topic}, topic, ids[topic])
        starts = await self._starts(partitions - kept.keys(), ids)
        if starts:  # from here on there is an offset to fall back to, and the log's start is no answer any more
            await subscriber.commit(starts)
        self._marks = kept | starts
        self._known_ids |= {source.topic: ids[source.topic] for source in partitions}
        return {source: mark.next for source, mark in self._marks.items()}

    async def _kept(
        self, partitions: Collection[TopicPartition], topic: str, topic_id: UUID
    ) -> dict[TopicPartition, Committed]:
        """Return what the group committed of these; raise OffsetLost where that does not fit the log."""
        committed = await self._bus.committed(self._of.group, topic)
        firsts, ends = await self._bus.start_offsets(topic), await self._bus.end_offsets(topic)
        kept: dict[TopicPartition, Committed] = {}
        for source in sorted(one for one in partitions if one.partition in committed):
            mark, first, end = committed[source.partition], firsts[source.partition], ends[source.partition]
            if mark.topic_id not in {None, topic_id}:
                raise offset_lost(self._of, source, "the topic was deleted and made again: its records are other ones")
            if not first <= mark.next <= end:
                raise offset_lost(self._of, source, f"committed is {mark.next}, the log holds [{first}, {end})")
            kept[source] = replace(mark, topic_id=topic_id)
        return kept

    async def _starts(
        self, partitions: Collection[TopicPartition], ids: Mapping[str, UUID]
    ) -> dict[TopicPartition, Committed]:
        """Return the logs' starts, for partitions of which nothing was ever committed."""
        starts: dict[TopicPartition, Committed] = {}
        for source in sorted(partitions):
            firsts = await self._bus.start_offsets(source.topic)
            if source.partition not in firsts:
                raise Unavailable(f"{source} is new, and not known here yet")
            starts[source] = Committed(firsts[source.partition], ids[source.topic])
        return starts

    def _refuse_recreated(self, partitions: Iterable[TopicPartition], ids: Mapping[str, UUID]) -> None:
        """Raise OffsetLost for a topic that is another than before: the broker forgot what was committed of the old."""
        for source in sorted(partitions):
            if self._known_ids.get(source.topic, ids[source.topic]) != ids[source.topic]:
                raise offset_lost(self._of, source, "the topic was deleted and made again while we read it")

    async def _give(self, subscriber: Subscriber, got: Fetched) -> None:
        if got.records:
            await self._confirm()
            await self._forward(got.records)
        moved = dict(_moved(self._marks, got))
        if moved:
            await subscriber.commit(moved)
            self._marks |= moved

    async def _confirm(self) -> None:
        """Raise OffsetLost unless the topics are still those that we took: ids never come back."""
        self._refuse_recreated(self._marks, await self._ids())

    async def _is_complete(self) -> bool:
        for topic, topic_id in (await self._ids()).items():
            committed = await self._bus.committed(self._of.group, topic)
            taken = {number for number, mark in committed.items() if mark.topic_id in {None, topic_id}}
            if not taken >= set(range(await self._bus.partitions(topic))):
                return False
        return True

    async def _ids(self) -> Mapping[str, UUID]:
        ids = await self._bus.topic_ids(self._of.topics)
        if missing := set(self._of.topics) - ids.keys():
            raise Unavailable(f"topics {sorted(missing)} do not exist")
        return ids

    def _forget(self) -> None:
        self._marks = {}


def _moved(marks: Mapping[TopicPartition, Committed], got: Fetched) -> Iterable[tuple[TopicPartition, Committed]]:
    """Yield how far each partition is now. Transactions leave markers: offsets without records."""
    lasts = last_of_each(got.records)
    for source, mark in marks.items():
        position = got.positions.get(source, 0)
        if position > mark.next:
            last = lasts.get(source)
            appended_at_ms = mark.appended_at_ms if last is None else last.appended_at_ms
            yield source, Committed(position, mark.topic_id, appended_at_ms)
