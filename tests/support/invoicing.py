"""Closes, windows and plans for tests of invoicing, with plain numbers in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from libs.schemas.events import (
    FrozenWindow,
    InvoiceIssued,
    ManifestSigned,
    Metric,
    PeriodClosed,
    PlanAssignment,
    PlanChanged,
    TenantPlanChanged,
    WindowTotalled,
)
from libs.schemas.values import GRAIN, Period, TenantId
from libs.schemas.windows import window_digest
from libs.signing.bundle import sign_blob
from libs.signing.digests import from_base64
from libs.signing.keys import SigningKey
from services.invoicing.domain.closing import FrozenClose, IssuedInvoice, RatedClose, RequestedClose
from services.invoicing.domain.documents import Issuer
from services.invoicing.domain.pricing import PlanHistory, PlanVersion
from services.invoicing.domain.windows import UNIT_OF, WindowCopy

TENANT: Final = TenantId("tnt_" + "a" * 20)
OTHER: Final = TenantId("tnt_" + "b" * 20)
OCTOBER: Final = Period.month("2026-10", "UTC")
REGISTERED: Final = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)  # before all that tests close
AFTER: Final = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
ISSUER: Final = Issuer("maestro", "Maestro, Inc.", "MST")
TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def at(window: int, period: Period = OCTOBER) -> datetime:
    """Return the start of the period's window of that number, from 0."""
    return period.starts_at + window * GRAIN


def totalled(
    metric: Metric,
    window: int,
    value: int | str,
    *,
    seq: int = 1,
    tenant: TenantId = TENANT,
    period: Period = OCTOBER,
) -> WindowTotalled:
    """Return the total as metering says it."""
    exact, start = Decimal(value), at(window, period)
    return WindowTotalled(
        tenant_id=tenant,
        metric=metric,
        window_start=start,
        value=exact,
        unit="By.us" if metric == "storage_gb" else "1",
        store_epoch=1,
        seq=seq,
        digest=window_digest(tenant, metric, start, exact),
        region="local-1",
    )


def copied(metric: Metric, window: int, value: int | str, *, tenant: TenantId = TENANT) -> WindowCopy:
    """Return our copy of a total."""
    return WindowCopy.of(totalled(metric, window, value, tenant=tenant))


def plan_changed(plan_id: str = "starter", version: int = 1, gql: str = "2", ingest: str = "0.1") -> PlanChanged:
    """Return a version of a plan as quota says it."""
    return PlanChanged.model_validate(
        {
            "plan_id": plan_id,
            "version": version,
            "name": plan_id.title(),
            "limits": {"qps": 50, "events_s": 1000, "storage_gb": 200},
            "price_map": {"gql_per_million": gql, "ingest_per_k": ingest},
            "effective_at": "2026-01-01T00:00:00Z",
        }
    )


def version(plan_id: str = "starter", number: int = 1, gql: str = "2", ingest: str = "0.1") -> PlanVersion:
    """Return a version of a plan as we keep it."""
    return PlanVersion.of(plan_changed(plan_id, number, gql, ingest))


def assigned(*plans: tuple[str, int, datetime]) -> tuple[PlanAssignment, ...]:
    """Return assignments of (plan id, version, effective from)."""
    return tuple(PlanAssignment(plan_id=name, version=number, effective_at=since) for name, number, since in plans)


def tenant_plan_changed(*plans: tuple[str, int, datetime], changed_at: datetime = AFTER) -> TenantPlanChanged:
    """Return the assignments as quota says them."""
    return TenantPlanChanged(tenant_id=TENANT, assignments=assigned(*plans), changed_at=changed_at)


def history(versions: Sequence[PlanVersion], *plans: tuple[str, int, datetime]) -> PlanHistory:
    """Return the history of a tenant."""
    return PlanHistory(assigned(*plans), {one.key: one for one in versions})


def starter() -> PlanHistory:
    """Return the history of a tenant that was always on Starter."""
    return history([version()], ("starter", 1, OCTOBER.starts_at))


def requested(tenant: TenantId = TENANT, period: Period = OCTOBER) -> RequestedClose:
    """Return a close that was asked for after the period."""
    return RequestedClose.of(tenant, period, early=False, now=AFTER, traceparent=TRACEPARENT)


def period_closed(
    copies: Sequence[WindowCopy] = (), *, close: RequestedClose | None = None, totals: dict[str, Decimal] | None = None
) -> PeriodClosed:
    """Return the frozen period as metering says it, of exactly these windows."""
    close = close or requested()
    sums = {name: sum((copy.value for copy in copies if copy.metric == name), Decimal(0)) for name in UNIT_OF}
    return PeriodClosed.model_validate(
        {
            "close_id": str(close.close_id),
            "tenant_id": close.tenant_id,
            "period": close.period.name,
            "zone": close.period.zone,
            "starts_at": close.period.starts_at,
            "ends_at": close.period.ends_at,
            "through": close.period.ends_at,
            "closed_at": AFTER,
            "tzdata_version": "2026a",
            "windows": [copy.as_frozen for copy in copies],
            "totals": sums if totals is None else totals,
        }
    )


def frozen(copies: Sequence[WindowCopy] = ()) -> FrozenClose:
    """Return a close that was frozen over exactly these windows."""
    return requested().freeze(period_closed(copies))


def rated(copies: Sequence[WindowCopy] = (), plans: PlanHistory | None = None) -> RatedClose:
    """Return the rated close of these windows."""
    outcome = frozen(copies).rate(copies, plans or starter())
    assert isinstance(outcome, RatedClose), outcome
    return outcome


def issued(copies: Sequence[WindowCopy] = ()) -> IssuedInvoice:
    """Return the invoice of these windows, with the number MST-000001."""
    return rated(copies).issue(1, ISSUER, AFTER)


def manifest_signed(invoice: IssuedInvoice, key: SigningKey) -> ManifestSigned:
    """Return the invoice's manifest as signed by `key`, as evidence says it."""
    return signature_of(invoice.event(), key)


def signature_of(said: InvoiceIssued, key: SigningKey, *, over: bytes | None = None) -> ManifestSigned:
    """Return what evidence says after it heard of the invoice; `over` is what it signed if not the manifest."""
    manifest = from_base64(said.manifest)
    assert manifest is not None
    return ManifestSigned(
        tenant_id=said.tenant_id,
        subject_kind="invoice",
        subject_id=said.invoice_id,
        manifest_sha=said.manifest_sha,
        bundle=sign_blob(manifest if over is None else over, key).decode("utf-8"),
        key_fingerprint=key.public.fingerprint,
        signed_at=AFTER,
    )


def frozen_window(copy: WindowCopy, **changes: object) -> FrozenWindow:
    """Return the frozen form of `copy`, changed."""
    return copy.as_frozen.model_copy(update=changes)
