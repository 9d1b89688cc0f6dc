"""How complete the totals are: the watermark, from what the broker holds and what the store has reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from libs.bus.ports import Bus
from libs.bus.records import TopicPartition
from libs.bus.subscription import group_of
from libs.runtime.clock import Clock
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, transaction
from services.metering.domain.watermark import Carried, Progress, watermark
from services.metering.store import closes

SHARDS_TOPIC: Final = "usage-shards"
SHARDS_CONSUMER: Final = "metering.shards"
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

    async def foreign_ends(self) -> Mapping[TopicPartition, int]:
        """Return where each partition of the routed topics ends now."""
        ends: dict[TopicPartition, int] = {}
        for topic in self.routed_topics:
            found = await self.bus.end_offsets(topic)
            ends |= {TopicPartition(topic, partition): end for partition, end in found.items()}
        return ends

    async def routed(self) -> Mapping[TopicPartition, Progress]:
        """Return how far the routed topics are routed, as their groups committed it behind what is durable."""
        progress: dict[TopicPartition, Progress] = {}
        ids = await self.bus.topic_ids(self.routed_topics) if self.routed_topics else {}
        for topic in self.routed_topics:
            found = await self.bus.committed(group_of(router_of(topic)), topic)
            progress |= {
                TopicPartition(topic, partition): Progress(mark.next, mark.appended_at_ms or 0)
                for partition, mark in found.items()
                if mark.topic_id in {None, ids.get(topic)}
            }
        return progress

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

    async def watermark(self) -> datetime | None:
        """Return up to when all usage is counted, None while that is not known."""
        asked_at = self.clock.now()
        foreign_ends = await self.foreign_ends()
        # In this order: what is committed as routed lies before the ends of usage-shards that are asked after it.
        routed_to = watermark(await self.routed(), foreign_ends, asked_at)
        ends = await self.ends()
        progress = await self.progress()
        counted_to = watermark(progress, ends, asked_at)
        if not foreign_ends:
            return counted_to
        if routed_to is not None:
            self._carried.note(routed_to, ends)
        carried_to = self._carried.counted_to(progress)
        return None if counted_to is None or carried_to is None else min(counted_to, carried_to)
