"""What quota hears: new tenants, what tenants store, and (in memory, in every process) the plans it said itself."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import SystemRandom
from typing import Final

from libs.bus.backoff import Backoff
from libs.bus.consumer import EventConsumer
from libs.bus.envelope import decode, meta_of
from libs.bus.ports import Bus
from libs.bus.records import Record
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription
from libs.bus.table import CompactedTable
from libs.runtime.clock import Clock
from libs.runtime.errors import Unavailable
from libs.schemas.events import PlanChanged, TenantChanged, TenantPlanChanged, WindowTotalled
from libs.store.pool import Pool, transaction
from services.quota.domain.plans import PlanTable
from services.quota.handlers import PLANS_TOPIC, Assigning, keep_gauge, put_in_force
from services.quota.store.plans import begun_between

SERVICE: Final = "quota"
TENANTS_TOPIC: Final = "tenant-changes"
WINDOWS_TOPIC: Final = "usage-windows"

LOOK_AGAIN_S: Final = 1.0  # how late `tenant_plan` may learn that a planned change began; the limiter needs no telling

_log = logging.getLogger(__name__)


def consumers(bus: Bus, pool: Pool, instance: str, assigning: Assigning) -> dict[str, EventConsumer]:
    """Return the consumers by purpose."""
    tenants, windows = Routes(), Routes()
    tenants.on(TenantChanged, assigning.on_tenant_changed)
    windows.on(WindowTotalled, keep_gauge)
    return {
        "tenants": EventConsumer(bus, pool, Subscription(SERVICE, "tenants", (TENANTS_TOPIC,), instance), tenants),
        "gauges": EventConsumer(bus, pool, Subscription(SERVICE, "gauges", (WINDOWS_TOPIC,), instance), windows),
    }


def plan_table_feed(bus: Bus, plans: PlanTable) -> CompactedTable:
    """Return the reader that keeps `plans` as plan-changes is."""
    return CompactedTable(bus, PLANS_TOPIC, partial(learn, plans))


def learn(plans: PlanTable, record: Record) -> None:
    """Apply one record of plan-changes; raise Rejected where it cannot be understood.

    What was known stands then, and where the type is not listed: its plan of before limits a tenant.
    """
    if record.value is None:
        return
    meta = meta_of(record)
    if meta.type == PlanChanged.TYPE:
        plans.on_plan_changed(decode(record, PlanChanged, meta).data)
    elif meta.type == TenantPlanChanged.TYPE:
        plans.on_tenant_plan_changed(decode(record, TenantPlanChanged, meta).data)


@dataclass(slots=True)
class Settling:
    """Brings `tenant_plan` up to date with planned changes as they begin. Any number of processes may."""

    pool: Pool
    clock: Clock
    settled_until: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    async def run(self) -> None:
        """Look every second until cancelled. Outages are waited out."""
        backoff = Backoff(SystemRandom())
        while True:
            try:
                await self.sweep()
                backoff.reset()
                await asyncio.sleep(LOOK_AGAIN_S)
            except Unavailable as error:
                _log.warning("settling waits: %s", error)
                await asyncio.sleep(backoff.next_s())

    async def sweep(self) -> None:
        """Settle what began since the last sweep, each tenant in a transaction of its own."""
        now = self.clock.now()
        async with transaction(self.pool) as tx:
            begun = await begun_between(tx, self.settled_until, now)
        for tenant_id in begun:
            async with transaction(self.pool) as tx:
                await put_in_force(tx, tenant_id, now)
        self.settled_until = now
