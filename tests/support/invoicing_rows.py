"""Invoicing's store in a state that a test starts from, and one call for each thing that can come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from libs.bus.envelope import EventMeta, Received
from libs.bus.records import Record
from libs.runtime.acts import Act
from libs.runtime.clock import ManualClock
from libs.schemas.events import EventModel, WindowTotalled
from libs.schemas.values import TenantId
from libs.store.pool import Pool, Tx
from services.invoicing.domain.closing import IssuedInvoice, Progress
from services.invoicing.domain.windows import WindowCopy
from services.invoicing.handlers import Billing, Closing, Copying, Recalling
from services.invoicing.store import MIGRATIONS, closes
from services.invoicing.store.plans import TopicEnd
from tests.support.access import tenant_changed
from tests.support.invoicing import (
    AFTER,
    ISSUER,
    OCTOBER,
    REGISTERED,
    TENANT,
    period_closed,
    plan_changed,
    requested,
    tenant_plan_changed,
)
from tests.support.stores import pools_on

BY = Act("an-operator", "request-1", "month end")

M = TypeVar("M", bound=EventModel)
NOTHING_UNREAD: dict[str, TopicEnd] = {}


@asynccontextmanager
async def invoicing_pool(dsn: str) -> AsyncIterator[Pool]:
    """Open the worker's pool on a database with invoicing's tables."""
    async with pools_on(dsn, [MIGRATIONS]) as pools:
        yield pools.worker


def received(event: M) -> Received[M]:
    """Return `event` as a handler gets it; its place in the log is of no interest here."""
    meta = EventMeta("1", "https://maestro.example/test", event.TYPE, None, None, None, None, None)
    return Received(event, meta, Record("topic", 0, 0, None, None, (), 0))


class Desk:
    """Invoicing's handlers under a clock that a test moves."""

    def __init__(self, at: datetime = AFTER) -> None:
        self.clock = ManualClock(at)
        self.copying = Copying(self.clock)
        self.closing = Closing(self.clock)
        self.billing = Billing(self.clock, ISSUER)
        self.recalling = Recalling(ISSUER)

    async def know(self, tx: Tx, tenant: TenantId = TENANT, **changes: Any) -> None:
        """Take a tenant from identity."""
        await self.copying.on_tenant_changed(
            tx, received(tenant_changed(tenant, **({"changed_at": REGISTERED} | changes)))
        )

    async def request(self, tx: Tx, tenant: TenantId = TENANT) -> UUID:
        """Ask for the close of October, and return its id."""
        standing = await self.closing.request(tx, "2026-10", [tenant], BY, early=False)
        return standing[0].request.close_id

    async def windows(self, tx: Tx, *totals: WindowTotalled) -> None:
        """Take window totals from metering."""
        copies: dict[TenantId, list[WindowCopy]] = {}
        for total in totals:
            copies.setdefault(total.tenant_id, []).append(WindowCopy.of(total))
        await self.copying.keep_windows(tx, copies)

    async def issue(self, tx: Tx, close_id: UUID) -> IssuedInvoice | None:
        """Try the close."""
        return await self.billing.issue(tx, close_id, NOTHING_UNREAD)

    async def progress(self, tx: Tx, close_id: UUID) -> Progress:
        """Return how far the close is."""
        found = await closes.progress_by_id(tx, close_id)
        assert found is not None
        return found


async def prepared(tx: Tx, desk: Desk, tenant: TenantId = TENANT) -> None:
    """Have a tenant on Starter whose October, without usage, is frozen."""
    await desk.know(tx, tenant)
    await desk.copying.on_plan_changed(tx, received(plan_changed()))
    plan = tenant_plan_changed(("starter", 1, OCTOBER.starts_at)).model_copy(update={"tenant_id": tenant})
    await desk.copying.on_tenant_plan_changed(tx, received(plan))
    await desk.request(tx, tenant)
    await desk.closing.on_period_closed(tx, period_closed(close=requested(tenant)))


async def issued(tx: Tx, desk: Desk, tenant: TenantId = TENANT) -> IssuedInvoice:
    """Prepare the tenant's close and issue its invoice."""
    await prepared(tx, desk, tenant)
    invoice = await desk.issue(tx, requested(tenant).close_id)
    assert invoice is not None
    return invoice


FreshDatabase = Callable[..., str]
