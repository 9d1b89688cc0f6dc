"""What drives invoicing: five subscriptions, and the loop that issues what has become ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final
from uuid import UUID

from libs.bus.backoff import Backoff
from libs.bus.consumer import BatchConsumer, EventConsumer
from libs.bus.envelope import decode, meta_of
from libs.bus.ports import Bus
from libs.bus.records import Record
from libs.bus.routes import Routes
from libs.bus.subscription import Poison, PoisonRecords, Subscription, refused
from libs.runtime.clock import Clock
from libs.runtime.errors import Rejected, Unavailable
from libs.runtime.tracing import span
from libs.schemas.cloudevents import BadEvent
from libs.schemas.events import (
    InvoiceIssued,
    ManifestSigned,
    PeriodClosed,
    PlanChanged,
    TenantChanged,
    TenantPlanChanged,
    WindowTotalled,
)
from libs.schemas.values import TenantId
from libs.store.pool import Pool, Tx, transaction
from services.invoicing.domain.windows import WindowCopy
from services.invoicing.handlers import (
    INVOICE_TOPIC,
    PLANS_CONSUMER,
    TOLD_CONSUMER,
    Billing,
    Closing,
    Copying,
    Recalling,
)
from services.invoicing.store import closes, plans

SERVICE: Final = "invoicing"
TENANTS_TOPIC: Final = "tenant-changes"
PLANS_TOPIC: Final = "plan-changes"
WINDOWS_TOPIC: Final = "usage-windows"
ENTRIES_TOPIC: Final = "evidence-entries"
READ_TO_THE_END: Final = {PLANS_CONSUMER: PLANS_TOPIC, TOLD_CONSUMER: INVOICE_TOPIC}  # before anything is issued

LOOK_AGAIN_S: Final = 0.2  # how long a close that has become ready may lie; one index look-up each time
SWEEP: Final = 50  # closes tried on one look at the plans' topic; keeps a shutdown waiting for a second at most

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What takes the events that invoicing hears."""

    copying: Copying
    closing: Closing
    recalling: Recalling


def consumers(bus: Bus, pool: Pool, instance: str, hearing: Hearing) -> dict[str, BatchConsumer]:
    """Return the consumers of all topics that invoicing hears, by purpose."""

    def of(purpose: str, topic: str) -> Subscription:
        return Subscription(SERVICE, purpose, (topic,), instance)

    copying, closing = hearing.copying, hearing.closing
    tenants, changes, entries, told = Routes(), Routes(), Routes(), Routes()
    told.on(InvoiceIssued, hearing.recalling.on_invoice_issued)
    tenants.on(TenantChanged, copying.on_tenant_changed)
    changes.on(PlanChanged, copying.on_plan_changed)
    changes.on(TenantPlanChanged, copying.on_tenant_plan_changed)
    entries.on(ManifestSigned, closing.on_manifest_signed)
    return {
        "tenants": EventConsumer(bus, pool, of("tenants", TENANTS_TOPIC), tenants),
        "plans": EventConsumer(bus, pool, of("plans", PLANS_TOPIC), changes),
        "windows": BatchConsumer(bus, pool, of("windows", WINDOWS_TOPIC), WindowBatches(copying, closing).handle),
        "entries": EventConsumer(bus, pool, of("entries", ENTRIES_TOPIC), entries),
        "told": EventConsumer(bus, pool, of("told", INVOICE_TOPIC), told),
    }


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch of usage-windows says."""

    copies: dict[TenantId, list[WindowCopy]] = field(default_factory=dict)
    closed: list[tuple[Record, PeriodClosed, str | None]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Sort in one record; raise Rejected where it cannot be understood."""
        meta = meta_of(record)
        if meta.type == WindowTotalled.TYPE:
            total = decode(record, WindowTotalled, meta).data
            self.copies.setdefault(total.tenant_id, []).append(WindowCopy.of(total))
        elif meta.type == PeriodClosed.TYPE:
            self.closed.append((record, decode(record, PeriodClosed, meta).data, meta.traceparent))
        else:
            raise BadEvent(f"{meta.type} is not a type of topic {record.topic}")


@dataclass(frozen=True, slots=True)
class WindowBatches:
    """Takes usage-windows by the batch: thousands of totals a second are one statement, not thousands.

    Totals before closes, whatever their order in the batch: a close waits for its windows in any case.
    """

    copying: Copying
    closing: Closing

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        """Keep the batch; raise PoisonRecords for what cannot be understood, or for the first refused close."""
        batch = _sorted_in(records)
        if batch.copies:
            await self.copying.keep_windows(tx, batch.copies)
        for record, closed, traceparent in batch.closed:
            try:
                with span(f"consume {PeriodClosed.TYPE}", parent=traceparent):
                    await self.closing.on_period_closed(tx, closed)
            except Rejected as error:
                raise PoisonRecords(refused(record, error)) from error


def _sorted_in(records: Sequence[Record]) -> Batch:
    batch = Batch()
    poisons: list[Poison] = []
    for record in records:
        try:
            batch.add(record)
        except Rejected as error:
            poisons.append(refused(record, error))
    if poisons:
        raise PoisonRecords(*poisons)
    return batch


@dataclass(frozen=True, slots=True)
class Issuing:
    """Issues the invoices of closes that are due. Any number of processes may: a close is tried by one at a time."""

    bus: Bus
    pool: Pool
    billing: Billing
    clock: Clock

    async def run(self) -> None:
        """Issue until cancelled. Outages are waited out; a close that cannot be issued says why, alone."""
        backoff = Backoff(SystemRandom())
        while True:
            try:
                tried = await self.sweep()
                backoff.reset()
            except Unavailable as error:
                _log.warning("issuing waits: %s", error)
                await asyncio.sleep(backoff.next_s())
                continue
            if tried < SWEEP:
                await asyncio.sleep(LOOK_AGAIN_S)

    async def sweep(self) -> int:
        """Try the closes that are due now, each in a transaction of its own; return how many these were."""
        async with transaction(self.pool) as tx:
            due = await closes.due(tx, self.clock.now(), SWEEP)
        if due:
            ends = await self.ends()
            for close_id in due:
                await self._try(close_id, ends)
        return len(due)

    async def ends(self) -> dict[str, plans.TopicEnd]:
        """Return where the topics end that must be read first, asked after the closes in hand were seen to be frozen.

        Windows and plans come on different topics: a change of plan that was published before the close and is still
        unread here would leave its usage at the old price. And a store that went back in time would give numbers that
        it gave before to other invoices, if it did not first read what it said itself.
        """
        ids = await self.bus.topic_ids(READ_TO_THE_END.values())
        missing = sorted(set(READ_TO_THE_END.values()) - ids.keys())
        if missing:
            raise Unavailable(f"topic {missing[0]} does not exist")
        return {
            consumer: plans.TopicEnd(ids[topic], await self.bus.end_offsets(topic))
            for consumer, topic in READ_TO_THE_END.items()
        }

    async def _try(self, close_id: UUID, ends: dict[str, plans.TopicEnd]) -> None:
        try:
            async with transaction(self.pool) as tx:
                invoice = await self.billing.issue(tx, close_id, ends)
            if invoice is not None:
                _log.info("issued %s", invoice.number, extra={"invoice_id": str(invoice.invoice_id)})
        except (Rejected, ArithmeticError) as error:
            # This close cannot be issued as it is; the others can. It says why wherever it is listed.
            _log.error("close %s cannot be issued: %s", close_id, error)
            async with transaction(self.pool) as tx:
                await self.billing.give_reason(tx, close_id, f"{type(error).__name__}: {error}")
