"""A close and the invoice that comes of it; each state is a type, and a step forward is a method.

    RequestedClose --freeze--> FrozenClose --rate--> RatedClose --issue--> IssuedInvoice --sign--> SignedInvoice
                                    |
                                    +--rate--> Waits (says for what)

There is no way back: what was frozen, issued or signed never changes. A correction will be another document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Final, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from libs.bus.audit import Change
from libs.runtime.names import URI_BASE
from libs.schemas.events import (
    CloseRequested,
    FrozenWindow,
    InvoiceFile,
    InvoiceIssued,
    ManifestSigned,
    Metric,
    PeriodClosed,
)
from libs.schemas.values import EXACT, Money, Period, TenantId, plain, rfc3339
from libs.signing.bundle import read_bundle
from libs.signing.canonical import CanonicalValue
from libs.signing.digests import sha256, sha256_hex, to_base64
from libs.signing.errors import SigningError
from libs.signing.manifest import MANIFEST_NAME
from services.invoicing.domain.documents import Basis, Draft, Issuer, files_of, totals_of
from services.invoicing.domain.pricing import PlanHistory
from services.invoicing.domain.rating import Rating, rate
from services.invoicing.domain.windows import UNIT_OF, WindowCopy, not_as_frozen, windows_digest
from services.invoicing.errors import (
    ConflictingClose,
    CopyDiffers,
    PeriodBeforeTenant,
    PeriodNotOver,
    PeriodNotStarted,
    WrongManifest,
)

# What a frozen close waits for before it was tried for the first time.
NOT_TRIED_YET: Final = "the frozen windows are being compared with our copies"


@dataclass(frozen=True, slots=True)
class Waits:
    """What is still to come before the next state, in words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Payer:
    """A tenant as closes see it: the billing zone that cuts its periods, and the first instant we know of it."""

    tenant_id: TenantId
    zone: str
    since: datetime

    def existed_in(self, name: str) -> bool:
        """Tell whether there was the tenant before the month `name` ended."""
        return self.since < Period.month(name, self.zone).ends_at

    def period(self, name: str) -> Period:
        """Return the tenant's month `name`; raise PeriodBeforeTenant where there was no tenant yet."""
        if not self.existed_in(name):
            raise PeriodBeforeTenant(
                f"{name} is over for {self.tenant_id} before it existed: since {rfc3339(self.since)}",
                tenant=self.tenant_id,
                since=rfc3339(self.since),
            )
        return Period.month(name, self.zone)


@dataclass(frozen=True, slots=True)
class RequestedClose:
    """Metering was asked to freeze [period.starts_at, period.ends_at) of the tenant.

    The id is made of tenant and period: whoever asks again, however often and after whatever restore, asks for the
    same close. `traceparent` is the request's, so that the invoice belongs to its trace.
    """

    close_id: UUID
    tenant_id: TenantId
    period: Period
    early: bool
    requested_at: datetime
    traceparent: str | None

    @classmethod
    def of(
        cls, tenant_id: TenantId, period: Period, *, early: bool, now: datetime, traceparent: str | None
    ) -> RequestedClose:
        """Return the close of `period` asked for at `now`; raise PeriodNotStarted, or PeriodNotOver unless `early`."""
        if now < period.starts_at:
            raise PeriodNotStarted(f"{period.name} starts at {rfc3339(period.starts_at)} for {tenant_id}")
        if now < period.ends_at and not early:
            raise PeriodNotOver(
                f"{period.name} is over at {rfc3339(period.ends_at)} for {tenant_id} (zone {period.zone}); close it"
                ' then, or send "early": true to bill what there is and take the rest as an adjustment'
            )
        close_id = uuid5(NAMESPACE_URL, f"{URI_BASE}closes/{tenant_id}/{period.name}")
        return cls(close_id, tenant_id, period, early, now, traceparent)

    def event(self) -> CloseRequested:
        """Return what metering is told."""
        return CloseRequested(
            close_id=str(self.close_id),
            tenant_id=self.tenant_id,
            period=self.period.name,
            zone=self.period.zone,
            starts_at=self.period.starts_at,
            ends_at=self.period.ends_at,
            early=self.early,
            requested_at=self.requested_at,
        )

    def change(self) -> Change:
        """Return what the record of changes says of the request."""
        details = {"period": self.period.name, "early": str(self.early).lower()}
        return Change("close.requested", f"close/{self.close_id}", self.requested_at, self.tenant_id, details)

    def freeze(self, closed: PeriodClosed) -> FrozenClose:
        """Return the frozen close; raise ConflictingClose where metering froze something else than was asked for."""
        period = self.period
        asked = (str(self.close_id), self.tenant_id, period.name, period.starts_at, period.ends_at)
        if asked != (closed.close_id, closed.tenant_id, closed.period, closed.starts_at, closed.ends_at):
            raise ConflictingClose(
                f"close {self.close_id} asked for {asked[1:]}, frozen was another tenant or interval"
            )
        windows = tuple(sorted(closed.windows, key=lambda window: (window.metric, window.window_start)))
        keys = {(window.metric, window.window_start) for window in windows}
        if len(keys) < len(windows) or not all(period.starts_at <= start < period.ends_at for _, start in keys):
            raise ConflictingClose(f"close {self.close_id}: a window was frozen twice, or lies outside of the period")
        return FrozenClose(self, closed.through, closed.closed_at, closed.tzdata_version, windows, closed.totals)


@dataclass(frozen=True, slots=True)
class FrozenClose:
    """Exactly these windows will be billed. `totals` are metering's own sums over them, per metric in base units."""

    request: RequestedClose
    through: datetime
    closed_at: datetime
    tzdata_version: str
    windows: tuple[FrozenWindow, ...]
    totals: Mapping[Metric, Decimal]

    def rate(self, copies: Sequence[WindowCopy], history: PlanHistory) -> RatedClose | Waits:
        """Return the rated close, or what it waits for. Of `copies` only those of frozen windows are rated.

        Raises CopyDiffers where copies that match one by one do not give the frozen totals, and what `rate` raises.
        """
        missing = not_as_frozen(self.windows, copies)
        if missing:
            first = missing[0]
            return Waits(
                f"{len(missing)} of {len(self.windows)} frozen windows have not arrived on usage-windows as they were"
                f" frozen; the first is {first.metric} {rfc3339(first.window_start)} with sequence {first.seq}"
            )
        if not history.assignments:
            return Waits("the tenant's plan has not arrived on plan-changes")
        keys = {(window.metric, window.window_start) for window in self.windows}
        usage = [copy for copy in copies if (copy.metric, copy.window_start) in keys]
        unknown = history.unknown([self.request.period.starts_at, *(copy.window_start for copy in usage)])
        if unknown:
            named = ", ".join(f"{plan_id} version {version}" for plan_id, version in unknown)
            return Waits(f"the prices of {named} have not arrived on plan-changes")
        self._check_totals(usage)
        return RatedClose(self, rate(usage, history, self.request.period.starts_at))

    def _check_totals(self, usage: Sequence[WindowCopy]) -> None:
        for metric in UNIT_OF:
            held = reduce(EXACT.add, (copy.value for copy in usage if copy.metric == metric), Decimal(0))
            frozen = self.totals.get(metric, Decimal(0))
            if held != frozen:
                raise CopyDiffers(f"{metric}: our windows give {plain(held)}, metering froze {plain(frozen)}")


@dataclass(frozen=True, slots=True)
class RatedClose:
    """All that an invoice needs but its number."""

    frozen: FrozenClose
    rating: Rating

    @property
    def invoice_id(self) -> UUID:
        """Made of the close, and so of tenant and period: whenever it is issued, it is the same invoice."""
        return uuid5(self.frozen.request.close_id, "invoice")

    def issue(self, series_number: int, issuer: Issuer, now: datetime) -> IssuedInvoice:
        """Return the invoice. The same close, number, issuer and instant give the same bytes."""
        frozen, request, number = self.frozen, self.frozen.request, issuer.number(series_number)
        basis = Basis(
            close_id=request.close_id,
            closed_at=frozen.closed_at,
            through=frozen.through,
            window_count=len(frozen.windows),
            windows_digest=windows_digest(frozen.windows),
            tzdata_version=frozen.tzdata_version,
        )
        draft = Draft(
            invoice_id=self.invoice_id,
            number=number,
            issuer=issuer,
            tenant_id=request.tenant_id,
            period=request.period,
            rating=self.rating,
            basis=basis,
            issued_at=now,
        )
        return IssuedInvoice(
            invoice_id=draft.invoice_id,
            close_id=request.close_id,
            tenant_id=request.tenant_id,
            number=number,
            issuer_id=issuer.issuer_id,
            series_number=series_number,
            period=request.period,
            total=self.rating.total,
            totals=totals_of(self.rating),
            issued_at=now,
            files=files_of(draft),
        )


@dataclass(frozen=True, slots=True)
class IssuedInvoice:
    """An invoice that exists and never changes. `files` are invoice.json, invoice.csv, manifest.json, by name."""

    invoice_id: UUID
    close_id: UUID
    tenant_id: TenantId
    number: str
    issuer_id: str
    series_number: int
    period: Period
    total: Money
    totals: Mapping[str, CanonicalValue]
    issued_at: datetime
    files: Mapping[str, bytes]

    @property
    def manifest(self) -> bytes:
        """The bytes that are signed."""
        return self.files[MANIFEST_NAME]

    @property
    def manifest_sha(self) -> str:
        """SHA-256 hex of the manifest's bytes."""
        return sha256_hex(self.manifest)

    def event(self) -> InvoiceIssued:
        """Return what evidence and others are told: the files that the manifest lists, and the manifest's own bytes."""
        listed = [
            InvoiceFile(name=name, size=len(content), sha256=sha256_hex(content))
            for name, content in sorted(self.files.items())
            if name != MANIFEST_NAME
        ]
        return InvoiceIssued(
            invoice_id=str(self.invoice_id),
            number=self.number,
            tenant_id=self.tenant_id,
            period=self.period.name,
            total=self.total.amount,
            currency=self.total.currency,
            files=tuple(listed),
            manifest=to_base64(self.manifest),
            manifest_sha=self.manifest_sha,
            issued_at=self.issued_at,
        )

    def sign(self, signed: ManifestSigned) -> SignedInvoice:
        """Return the complete invoice; raise WrongManifest where the bundle is not over this manifest's bytes.

        Whether the key is to be trusted is for the verifier to say, who has the keys; that it is about our bytes is
        for us: a bundle over anything else is never served as this invoice's.
        """
        if (signed.tenant_id, signed.manifest_sha) != (self.tenant_id, self.manifest_sha):
            raise WrongManifest(
                f"invoice {self.number} has the manifest {self.manifest_sha}, not {signed.manifest_sha}"
            )
        bundle = signed.bundle.encode("utf-8")
        try:
            digest = read_bundle(bundle).digest
        except SigningError as error:
            raise WrongManifest(f"the bundle of invoice {self.number} cannot be read: {error}") from error
        if digest != sha256(self.manifest):
            raise WrongManifest(f"the bundle of invoice {self.number} signs the digest {digest.hex()}")
        return SignedInvoice(self, bundle, signed.key_fingerprint, signed.signed_at)


@dataclass(frozen=True, slots=True)
class SignedInvoice:
    """A complete invoice: `bundle` is manifest.json.sigstore.json."""

    invoice: IssuedInvoice
    bundle: bytes
    key_fingerprint: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a close has come, for whoever asks: when each state was reached, None where it was not."""

    request: RequestedClose
    frozen_at: datetime | None
    open_point: str | None
    invoice_id: UUID | None
    issued_at: datetime | None
    signed_at: datetime | None

    @property
    def status(self) -> Literal["requested", "frozen", "issued", "signed"]:
        """The last state that was reached."""
        if self.signed_at is not None:
            return "signed"
        if self.issued_at is not None:
            return "issued"
        return "requested" if self.frozen_at is None else "frozen"

    @property
    def waits_for(self) -> str | None:
        """What must come before the next state, in words; None at the end."""
        return {
            "requested": "metering has not frozen the period: it first counts all usage accepted before the request",
            "frozen": self.open_point,
            "issued": "evidence has not signed the manifest",
            "signed": None,
        }[self.status]
