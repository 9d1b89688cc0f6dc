"""The router: usage that others wrote to topics of their own becomes usage in usage-shards, by the rules of an edge.

It keeps nothing of what it routes: what is durable may be published again after a crash, and shard owners drop the
copies. What cannot be taken is set aside, a letter for each record, before the record's offset moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from libs.access.errors import KeyUnusable
from libs.access.principal import Principal
from libs.bus.records import Record
from libs.bus.subscription import Poison, require_read
from libs.runtime.crashpoints import crash_point
from libs.runtime.errors import Rejected, Unavailable
from libs.runtime.tracing import span
from libs.store.pool import Pool, Tx
from services.metering import metrics
from services.metering.domain.events import UsageEvent
from services.metering.domain.foreign import READERS, Refusal, refusal_of
from services.metering.domain.intake import Taken
from services.metering.handlers.edge import UsageEdge
from services.metering.handlers.letters import set_records_aside
from services.metering.handlers.reading import router_of

MAX_EVENTS: Final = 4_000  # of one publication; a record may bring more by itself
MILLISECOND_US: Final = 1_000


@dataclass(slots=True)
class _Lot:
    """What is made durable at once: events, and the records of which not all could be taken."""

    events: list[UsageEvent] = field(default_factory=list)
    poisons: list[Poison] = field(default_factory=list)
    records: int = 0


@dataclass(frozen=True, slots=True)
class Router:
    """Routes one topic. `principal` is the edge in whose name it acts, asked anew for each lot.

    `principal` raises Unavailable while nobody may: then the records wait, for that is the operator's to mend.
    """

    topic: str
    edge: UsageEdge
    pool: Pool
    principal: Callable[[], Principal]

    async def route(self, records: Sequence[Record]) -> None:
        """Return once all that is in the records is durable, as usage or as dead letters; raise Unavailable."""
        with span(f"route {self.topic}"):
            caller, lot = self.principal(), _Lot()
            for record in records:
                self._read(record, caller, lot)
                await asyncio.sleep(0)  # an edge in the same process answers while we catch up
                if len(lot.events) >= MAX_EVENTS:
                    await self._publish(lot)
                    caller, lot = self.principal(), _Lot()
            await self._publish(lot)

    def _read(self, record: Record, caller: Principal, lot: _Lot) -> None:
        intake = self.edge.intake(caller.tenant, record.appended_at_ms * MILLISECOND_US)
        try:
            require_read(record)
            taken = READERS[self.topic](intake, record.headers, record.value)
            refusal = refusal_of(taken)
        except Rejected as refused:
            taken, refusal = Taken(), Refusal(refused.code, refused.detail)
        lot.records += 1
        lot.events += taken.events
        if refusal is not None:
            lot.poisons.append(Poison(record, refusal.reason, refusal.cause))
        self.edge.count(taken)

    async def _publish(self, lot: _Lot) -> None:
        if lot.events:
            await self.edge.publish(lot.events)
        if lot.poisons:
            await set_records_aside(self.edge.bus, self.pool, router_of(self.topic), lot.poisons)
        crash_point("metering.routed")
        metrics.ROUTED_RECORDS.add(lot.records, {"topic": self.topic})


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that the foreign topics are bound to, by their routers."""

    routers: Sequence[Router]

    async def show(self, _: Tx) -> None:
        """Show of which foreign topics the key may not be used; nothing while the keys are still being read."""
        unusable = dict.fromkeys(READERS, False)  # a topic that is bound to no key lacks none
        try:
            unusable |= {router.topic: _is_unusable(router) for router in self.routers}
        except Unavailable:
            metrics.ROUTER_KEY_UNUSABLE.clear("metering")
            return
        values = [({"topic": topic}, int(is_unusable)) for topic, is_unusable in unusable.items()]
        metrics.ROUTER_KEY_UNUSABLE.replace("metering", values)


def _is_unusable(router: Router) -> bool:
    try:
        router.principal()
    except KeyUnusable:
        return True
    return False
