"""The shard owner's batch: what is new counts, what came again does not, in the transaction that moves the offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from libs.bus.records import Record
from libs.bus.subscription import Poison, PoisonRecords, refused, require_read
from libs.runtime.errors import Rejected
from libs.store.pool import Tx
from services.metering import metrics
from services.metering.domain.events import UsageEvent
from services.metering.domain.folding import Folded, fold
from services.metering.domain.records import decode
from services.metering.domain.settling import candidates_of, settle
from services.metering.domain.versions import MeterBook
from services.metering.handlers.known_ids import KnownIds
from services.metering.store import gauges, ids, meters, windows
from services.metering.store.fence import closed_periods, share_fence

BREATH_EVENTS: Final = 2_000  # after so many the loop turns: an edge in the same process answers while we catch up
MILLISECOND_US: Final = 1_000


@dataclass(frozen=True, slots=True)
class ShardOwner:
    """Decides over the shards of the partitions that this process owns."""

    meters: MeterBook
    known: KnownIds

    async def take(self, tx: Tx, records: Sequence[Record]) -> None:
        """Count a batch; raise PoisonRecords for those that no edge of ours wrote."""
        candidates = candidates_of(await _events(records))
        await meters.follow(tx, self.meters, await share_fence(tx))
        settled = settle(candidates, await self.known.claim(tx, candidates.firsts, _seen_us(records)))
        folded = await self._fold(tx, settled.fresh)
        await ids.note_again(tx, settled)
        await windows.add(tx, folded.sums)
        await windows.adjust(tx, folded.adjustments)
        await gauges.add_samples(tx, folded.samples)
        await ids.note_failures(tx, folded.failures)
        metrics.BATCH_EVENTS.add(len(settled.fresh), {"outcome": "counted"})
        metrics.BATCH_EVENTS.add(settled.copies.total(), {"outcome": "duplicate"})
        metrics.BATCH_EVENTS.add(len(settled.conflicts), {"outcome": "conflict"})
        metrics.ADJUSTMENTS.add(len(folded.adjustments))

    async def _fold(self, tx: Tx, fresh: Sequence[UsageEvent]) -> Folded:
        if not fresh:
            return Folded()
        since_us = min(event.time_us for event in fresh)
        closed = await closed_periods(tx, {event.tenant_id for event in fresh}, since_us)
        folded = Folded()
        for start in range(0, len(fresh), BREATH_EVENTS):
            fold(fresh[start : start + BREATH_EVENTS], self.meters, closed, onto=folded)
            await asyncio.sleep(0)
        return folded


def _seen_us(records: Iterable[Record]) -> int:
    """Return when the last of these records was appended: none was seen later, and ids are kept from then on."""
    return max((record.appended_at_ms for record in records), default=0) * MILLISECOND_US


async def _events(records: Iterable[Record]) -> list[UsageEvent]:
    events: list[UsageEvent] = []
    poisons: list[Poison] = []
    rested = 0
    for record in records:
        try:
            require_read(record)
            events += decode(record.value)
        except Rejected as error:
            poisons.append(refused(record, error))
        if len(events) - rested > BREATH_EVENTS:
            rested = len(events)
            await asyncio.sleep(0)
    if poisons:
        raise PoisonRecords(*poisons)
    return events
