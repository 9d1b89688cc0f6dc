"""How complete the totals are: the watermark, from what the broker holds and what the store has reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from libs.bus.ports import Bus
from libs.bus.records import TopicPartition
from libs.bus.subscription import group_of
from libs.runtime.clock import Clock
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, transaction
from services.metering.domain.watermark import (
    Carried,
    Diverted,
    Progress,
    Watermarks,
    earlier,
    overflowed,
    watermark,
)
from services.metering.store import closes

SHARDS_TOPIC: Final = "usage-shards"
SHARDS_CONSUMER: Final = "metering.shards"
OVERFLOW_TOPIC: Final = "usage-overflow"
ARCHIVE_PURPOSE: Final = "archive"
ARCHIVE_CONSUMER: Final = f"metering.{ARCHIVE_PURPOSE}"


def router_of(topic: str) -> str:
    """Return the name of the consumer that routes `topic`."""
    return f"metering.router.{topic}"


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads how far usage is routed and counted, by all processes together. `routed_topics` are those with a router."""

    bus: Bus
    pool: Pool
    clock: Clock
    routed_topics: tuple[str, ...] = ()
    _carried: Carried = field(default_factory=Carried)
    _diverted: Diverted = field(default_factory=Diverted)

    async def foreign_ends(self) -> Mapping[TopicPartition, int]:
        """Return where each partition of the routed topics ends now."""
        ends: dict[TopicPartition, int] = {}
        for topic in self.routed_topics:
            found = await self.bus.end_offsets(topic)
            ends |= {TopicPartition(topic, partition): end for partition, end in found.items()}
        return ends

    async def routed(self) -> Mapping[TopicPartition, Progress]:
        """Return how far the routed topics are routed, as their groups committed it behind what is durable."""
        found: dict[TopicPartition, Progress] = {}
        for topic in self.routed_topics:
            passed = await self._passed(topic)
            found |= {TopicPartition(topic, partition): one for partition, one in passed.items()}
        return found

    async def overflow_ends(self) -> Mapping[int, int]:
        """Return where each partition of usage-overflow ends now."""
        return await self.bus.end_offsets(OVERFLOW_TOPIC)

    async def forwarded(self) -> Mapping[int, Progress]:
        """Return how far usage-overflow is forwarded, as its group committed it behind what is durable."""
        return await self._passed(OVERFLOW_TOPIC)

    async def _passed(self, topic: str) -> Mapping[int, Progress]:
        ids = await self.bus.topic_ids([topic])
        found = await self.bus.committed(group_of(router_of(topic)), topic)
        return {
            partition: Progress(mark.next, mark.appended_at_ms or 0)
            for partition, mark in found.items()
            if mark.topic_id in {None, ids.get(topic)}
        }

    async def ends(self) -> Mapping[int, int]:
        """Return where each partition of usage-shards ends now: what was acknowledged before lies before that."""
        return await self.bus.end_offsets(SHARDS_TOPIC)

    async def progress(self) -> Mapping[int, Progress]:
        """Return how far each partition is counted, in the topic as it now is."""
        ids = await self.bus.topic_ids([SHARDS_TOPIC])
        if SHARDS_TOPIC not in ids:
            raise Unavailable(f"topic {SHARDS_TOPIC} does not exist yet")
        async with transaction(self.pool) as tx:
            return await closes.progress(tx, SHARDS_CONSUMER, ids[SHARDS_TOPIC])

    async def watermarks(self) -> Watermarks:
        """Return up to when all usage is counted, tenant by tenant."""
        asked_at = self.clock.now()
        foreign_ends = await self.foreign_ends()
        # In this order: what is committed as routed lies before the ends of usage-overflow and usage-shards that are
        # asked after it, and what is committed as forwarded before those of usage-shards.
        routed_to = watermark(await self.routed(), foreign_ends, asked_at)
        overflow_ends = await self.overflow_ends()
        forwarded = await self.forwarded()
        ends = await self.ends()
        progress = await self.progress()
        entered = overflowed(forwarded, overflow_ends, asked_at)
        if foreign_ends:
            entered = earlier(entered, self._diverted.forwarded_to(routed_to, forwarded, overflow_ends))
        self._carried.note(entered, ends)
        carried_to = self._carried.counted_to(progress)
        if not foreign_ends:  # whose partition was never written to has all its usage on usage-shards
            unused = {partition: asked_at for partition, end in overflow_ends.items() if end == 0}
            carried_to = {**carried_to, **unused}
        counted_to = watermark(progress, ends, asked_at)
        marks = {} if counted_to is None else {place: min(mark, counted_to) for place, mark in carried_to.items()}
        return Watermarks(marks, len(overflow_ends))
