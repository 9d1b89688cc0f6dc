"""What invoicing does: load, decide (domain), save, and say it, in the transaction of the caller."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.bus.audit import record_change
from libs.bus.envelope import Received
from libs.bus.outbox import say
from libs.runtime.acts import Act
from libs.runtime.clock import Clock
from libs.runtime.crashpoints import crash_point
from libs.runtime.tracing import current_traceparent, span
from libs.schemas.events import (
    InvoiceIssued,
    ManifestSigned,
    PeriodClosed,
    PlanChanged,
    TenantChanged,
    TenantPlanChanged,
)
from libs.schemas.values import Period, TenantId
from libs.store.pool import Tx
from services.invoicing import metrics
from services.invoicing.domain.closing import IssuedInvoice, Progress, RatedClose, RequestedClose, Waits
from services.invoicing.domain.documents import Issuer
from services.invoicing.domain.pricing import PlanVersion
from services.invoicing.domain.told import ToldInvoice
from services.invoicing.domain.windows import WindowCopy
from services.invoicing.errors import (
    ConflictingClose,
    PlanVersionChanged,
    ToldOtherwise,
    UnknownClose,
    UnknownInvoice,
    UnknownTenant,
)
from services.invoicing.store import closes, invoices, plans, windows
from services.invoicing.store.told import add_told, told_by_id

SERVICE: Final = "invoicing"
CLOSE_TOPIC: Final = "close-requests"
INVOICE_TOPIC: Final = "invoices"
PLANS_CONSUMER: Final = "invoicing.plans"
TOLD_CONSUMER: Final = "invoicing.told"
BEHIND: Final = "changes of plans that were published before the close was tried are still being read"
NOT_RECALLED: Final = "invoices that were told of before the close was tried are still being read back"
_REASONS: Final = {PLANS_CONSUMER: BEHIND, TOLD_CONSUMER: NOT_RECALLED}

# What a close waits for makes it due when it comes; trying again by time is the net below that, never the way.
FIRST_RETRY: Final = timedelta(milliseconds=250)
LONGEST_RETRY: Final = timedelta(seconds=30)
_DOUBLINGS: Final = 7  # 250 ms doubled so often is past LONGEST_RETRY; who waits longer than that is worth a line

_log = logging.getLogger(__name__)


async def show_waiting(tx: Tx) -> None:
    """Show how many closes wait to be issued, and how long."""
    count, age_s = await closes.waiting(tx)
    metrics.CLOSES_WAITING.replace("invoicing", [({}, count)])
    metrics.CLOSE_AGE.replace("invoicing", [({}, age_s)])


@dataclass(frozen=True, slots=True)
class Copying:
    """Keeps the copies that an invoice is made of, and makes the closes due that may have waited for them."""

    clock: Clock

    async def on_tenant_changed(self, tx: Tx, received: Received[TenantChanged]) -> None:
        """Keep the tenant's billing zone, by which its next periods are cut."""
        await plans.put_tenant(tx, received.data)

    async def on_plan_changed(self, tx: Tx, received: Received[PlanChanged]) -> None:
        """Keep the version; raise PlanVersionChanged where it is known with other prices."""
        plan = PlanVersion.of(received.data)
        kept = await plans.add_version(tx, plan)
        if kept != plan:
            raise PlanVersionChanged(f"{plan.plan_id} version {plan.version} is kept as {kept}; publish a new version")
        await closes.wake(tx, None, self.clock.now())

    async def on_tenant_plan_changed(self, tx: Tx, received: Received[TenantPlanChanged]) -> None:
        """Keep the tenant's assignments."""
        if await plans.put_assignments(tx, received.data):
            await closes.wake(tx, [received.data.tenant_id], self.clock.now())

    async def keep_windows(self, tx: Tx, copies: Mapping[TenantId, list[WindowCopy]]) -> None:
        """Keep those that are newer than ours."""
        await windows.put_copies(tx, copies)
        await closes.wake(tx, copies, self.clock.now())


@dataclass(frozen=True, slots=True)
class Closing:
    """Asks for closes, and takes down what metering and evidence make of them."""

    clock: Clock

    async def request(
        self, tx: Tx, period: str, tenant_ids: Sequence[TenantId] | None, act: Act, *, early: bool
    ) -> list[Progress]:
        """Ask metering to close `period` of each tenant (None: of all that are known), once; return their closes.

        A close that was asked for before is returned as it stands. Of all tenants, those that did not exist yet are
        left out. All or none: raises UnknownTenant, and what `RequestedClose.of`, `Payer.period` and `Period.month`
        raise, before anything is asked.
        """
        Period.month(period, "UTC")
        payers = await plans.payers_of(tx, tenant_ids)
        unknown = sorted(set(tenant_ids or ()) - payers.keys())
        if unknown:
            raise UnknownTenant(f"there is no tenant {', '.join(unknown)}", tenants=unknown)
        held = await closes.progress_of_period(tx, period, payers)
        now, traceparent = self.clock.now(), current_traceparent()
        asked = [
            RequestedClose.of(tenant_id, payer.period(period), early=early, now=now, traceparent=traceparent)
            for tenant_id, payer in payers.items()
            if tenant_id not in held and (tenant_ids is not None or payer.existed_in(period))
        ]
        for close in asked:
            # Of two requests at once the second waits here for the first, and finds that there is nothing to add.
            if await closes.add_close(tx, close):
                await say(tx, CLOSE_TOPIC, close.event(), key=close.tenant_id)
                await record_change(tx, SERVICE, act, close.change())
        standing = await closes.progress_of_period(tx, period, payers)
        return [standing[tenant_id] for tenant_id in payers if tenant_id in standing]

    async def on_period_closed(self, tx: Tx, closed: PeriodClosed) -> None:
        """Keep the frozen set; again is no change. Raises UnknownClose, or ConflictingClose where it differs."""
        close_id = _uuid(closed.close_id)
        close = await closes.close_by_id(tx, close_id) if close_id else None
        if close is None:
            raise UnknownClose(f"metering closed {closed.close_id[:64]!r}, which was not asked for here")
        frozen = close.freeze(closed)
        if await closes.add_frozen(tx, frozen, self.clock.now()):
            return
        if await closes.frozen_by_id(tx, close.close_id) != frozen:
            raise ConflictingClose(f"close {close.close_id} was frozen before, with another content; that one stands")

    async def on_manifest_signed(self, tx: Tx, received: Received[ManifestSigned]) -> None:
        """Keep the bundle as the invoice's last file; the first one stands. Raises UnknownInvoice or WrongManifest."""
        signed = received.data
        invoice_id = _uuid(signed.subject_id)
        invoice = await invoices.issued_by_id(tx, invoice_id) if invoice_id else None
        if invoice is None:
            raise UnknownInvoice(f"there is no invoice {signed.subject_id[:64]!r} that could have been signed")
        await invoices.add_signature(tx, invoice.sign(signed))


@dataclass(frozen=True, slots=True)
class Recalling:
    """Reads back what we said ourselves: a store that was restored has lost invoices that others have."""

    issuer: Issuer

    async def on_invoice_issued(self, tx: Tx, received: Received[InvoiceIssued]) -> None:
        """Keep an invoice that is not here, and never give its number to another; nothing where it is here.

        Raises ToldOtherwise where it is here, or was told of, as something else.
        """
        told = ToldInvoice.of(received.data)
        series_number = self.issuer.series_number(told.number)
        if series_number is not None:
            await invoices.raise_series(tx, self.issuer.issuer_id, series_number)
        invoice_id = _uuid(told.invoice_id)
        standing = await invoices.stands_as(tx, invoice_id) if invoice_id else None
        if standing is None:
            kept = await add_told(tx, told)
            standing = kept.number, kept.manifest_sha
        told.require_same(*standing)


@dataclass(frozen=True, slots=True)
class Billing:
    """Issues the invoices of frozen closes."""

    clock: Clock
    issuer: Issuer

    async def issue(self, tx: Tx, close_id: UUID, ends: Mapping[str, plans.TopicEnd]) -> IssuedInvoice | None:
        """Issue the invoice of the close, or write down what it waits for; None also where another process is at it.

        `ends` is where the topics of these consumers ended after the close was seen to be frozen: nothing is priced
        before all changes of plans, nothing numbered before all that we ever said, is in our copy. Raises what rating
        raises, or ToldOtherwise (nothing is issued then, and no number is used).
        """
        tries = await closes.take_waiting(tx, close_id)
        if tries is None:
            return None
        # Read under the lock on the close: what is taken from now on makes it due again after we let go.
        behind = await plans.lagging(tx, ends)
        if behind is not None:
            await closes.postpone(tx, close_id, _REASONS[behind], self.clock.now() + FIRST_RETRY)
            return None
        frozen = await closes.frozen_by_id(tx, close_id)
        assert frozen is not None, "waiting_close refers to frozen_close"
        outcome = frozen.rate(
            await windows.copies_of_frozen(tx, close_id, frozen.request.tenant_id),
            await plans.history_of(tx, frozen.request.tenant_id),
        )
        if isinstance(outcome, Waits):
            await self._postpone(tx, close_id, outcome.reason, tries)
            return None
        invoice = await self._issue(tx, outcome)
        await closes.finish(tx, close_id)
        crash_point("invoicing.issuing")
        return invoice

    async def give_reason(self, tx: Tx, close_id: UUID, reason: str) -> None:
        """Write down why the close could not be issued, and when it is tried again."""
        tries = await closes.take_waiting(tx, close_id)
        if tries is not None:
            await self._postpone(tx, close_id, reason, tries)

    async def _issue(self, tx: Tx, rated: RatedClose) -> IssuedInvoice:
        """Number, files, rows and the word to others, under the trace of the request, whatever woke us."""
        request = rated.frozen.request
        with span("issue invoice", parent=request.traceparent or ""):
            told = await told_by_id(tx, str(rated.invoice_id))
            if told is None:
                number = await invoices.next_number(tx, self.issuer.issuer_id)
                invoice = rated.issue(number, self.issuer, self.clock.now())
            else:
                number = await self._number_told(tx, told)
                invoice = rated.issue(number, self.issuer, told.issued_at)
                told.require_same(invoice.number, invoice.manifest_sha)
            await invoices.add_invoice(tx, invoice)
            await say(tx, INVOICE_TOPIC, invoice.event(), key=request.tenant_id)
        return invoice

    async def _number_told(self, tx: Tx, told: ToldInvoice) -> int:
        """Return the number that the invoice was told of with; raise ToldOtherwise where it cannot have that again."""
        number = self.issuer.series_number(told.number)
        if number is None:
            raise ToldOtherwise(
                f"it was told of as {told.number}, which is of another series than {self.issuer.number(1)}"
            )
        holder = await invoices.holder_of(tx, self.issuer.issuer_id, number)
        if holder is not None:
            raise ToldOtherwise(f"it was told of as {told.number}, a number that invoice {holder} has here")
        return number

    async def _postpone(self, tx: Tx, close_id: UUID, reason: str, tries: int) -> None:
        doubled: timedelta = FIRST_RETRY * 2 ** min(tries, _DOUBLINGS)
        await closes.postpone(tx, close_id, reason, self.clock.now() + min(doubled, LONGEST_RETRY))
        if tries >= _DOUBLINGS:
            _log.warning("close %s still waits: %s", close_id, reason)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
