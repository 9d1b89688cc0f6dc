"""Waiting for the owners' commits on behalf of a sender who prefers to know what became of its events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from libs.store.pool import Pool, transaction
from services.metering.domain.events import UsageEvent
from services.metering.domain.identity import partition_of, shard_of
from services.metering.domain.outcomes import Outcome, outcomes
from services.metering.handlers.reading import Reading
from services.metering.store import ids

MAX_WAITERS: Final = 32  # at once; who comes then is answered at once, as without the preference
MAX_EVENTS: Final = 128  # of a request that waits: each id is looked up in the runs of the store, twice
FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 0.25

Digests = Mapping[bytes, int]


@dataclass(slots=True)
class Waiting:
    """Looks, for as many requests as may wait, until their events are behind the offsets that owners committed."""

    pool: Pool
    reading: Reading
    _present: int = field(default=0, init=False)

    @contextmanager
    def place(self, *, is_wanted: bool) -> Iterator[bool]:
        """Hold a place while the block runs; False where none is free, or wanted."""
        if not is_wanted or self._present >= MAX_WAITERS:
            yield False
            return
        self._present += 1
        try:
            yield True
        finally:
            self._present -= 1

    async def stood(self, events: Sequence[UsageEvent]) -> Digests:
        """Return the digests that stand under the events' ids, before they are published."""
        async with transaction(self.pool) as tx:
            found = await ids.standing(tx, list(dict.fromkeys(event.key for event in events)))
        return {key: one.digest for key, one in found.items()}

    async def outcomes(self, events: Sequence[UsageEvent], before: Digests, within_s: float) -> list[Outcome]:
        """Return what became of the events, which are durable now, once that is known or the time is up.

        Each look is one statement for the whole request. What was diverted to usage-overflow is not waited for.
        """
        ends = await self.reading.ends()
        of_key = {event.key: partition_of(shard_of(event.key), len(ends)) for event in events}
        wanted = {partition: ends[partition] for partition in set(of_key.values())}
        passed = await self._passed(wanted, within_s)
        after = await self.stood([event for event in events if of_key[event.key] in passed])
        return outcomes(events, before, after)

    async def _passed(self, wanted: Mapping[int, int], within_s: float) -> set[int]:
        """Return the partitions that are counted up to what is wanted, all of them or those when the time is up."""
        loop = asyncio.get_running_loop()
        ends_at, pause_s = loop.time() + within_s, FIRST_PAUSE_S
        while True:
            progress = await self.reading.progress()
            passed = {one for one, end in wanted.items() if one in progress and progress[one].reached >= end}
            left_s = ends_at - loop.time()
            if len(passed) == len(wanted) or left_s <= 0:
                return passed
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
