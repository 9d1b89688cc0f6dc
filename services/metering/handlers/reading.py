"""How complete the totals are: the watermark, from what the broker holds and what the store has reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.bus.ports import Bus
from libs.runtime.clock import Clock
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, transaction
from services.metering.domain.watermark import Progress, watermark
from services.metering.store import closes

SHARDS_TOPIC: Final = "usage-shards"
SHARDS_CONSUMER: Final = "metering.shards"


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads how far usage-shards is counted, by all processes together."""

    bus: Bus
    pool: Pool
    clock: Clock

    async def ends(self) -> Mapping[int, int]:
        """Return where each partition ends now: everything acknowledged before this call lies before that."""
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
        ends = await self.ends()
        return watermark(await self.progress(), ends, asked_at)
