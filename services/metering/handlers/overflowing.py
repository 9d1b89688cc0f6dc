"""The forwarder of usage-overflow: what was beyond a tenant's share comes to its shards, by turns, as there is room.

At least once, as routers: what is durable on usage-shards may be published again after a crash, and shard owners drop
the copies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from libs.bus.records import Record
from libs.bus.subscription import Poison, refused, require_read
from libs.runtime.crashpoints import crash_point
from libs.runtime.errors import Rejected
from libs.runtime.tracing import span
from libs.store.pool import Pool
from services.metering import metrics
from services.metering.domain.records import decode
from services.metering.domain.turns import Turns
from services.metering.errors import BadShardRecord
from services.metering.handlers.dividing import Divider
from services.metering.handlers.letters import set_records_aside
from services.metering.handlers.reading import OVERFLOW_TOPIC, router_of

PATIENCE_S: Final = 30.0  # without a look at the owners; below the five minutes after which a group gives a member up


@dataclass(frozen=True, slots=True)
class Overflow:
    """Forwards what the group's partitions of usage-overflow hold."""

    divider: Divider
    pool: Pool

    async def forward(self, records: Sequence[Record]) -> None:
        """Return once all that is in the records is durable on usage-shards, or set aside; raise Unavailable."""
        with span(f"forward {OVERFLOW_TOPIC}"):
            turns, poisons = Turns(self.divider.accounts.weight), []
            for record in records:
                poisons += self._read(record, turns)
                await asyncio.sleep(0)  # an edge in the same process answers meanwhile
            if poisons:
                await set_records_aside(self.divider.bus, self.pool, router_of(OVERFLOW_TOPIC), poisons)
            while turns:
                await self._turn(turns)
            crash_point("metering.overflow_forwarded")

    def _read(self, record: Record, turns: Turns) -> list[Poison]:
        try:
            require_read(record)
            events = decode(record.value)
            if len({event.tenant_id for event in events}) > 1:
                raise BadShardRecord("a record of usage-overflow holds usage of one tenant")
        except Rejected as error:
            return [refused(record, error)]
        turns.add(events)
        return []

    async def _turn(self, turns: Turns) -> None:
        lots = turns.next(partial(self.divider.accounts.take, has_waited=True))
        if not lots:
            await self.divider.until_moved(PATIENCE_S)
            return
        await self.divider.forward(lots)
        for lot in lots:
            weight = self.divider.accounts.weight(lot[0].tenant_id)
            metrics.OVERFLOW_EVENTS.add(len(lot), {"step": "forwarded", "weight": weight})
