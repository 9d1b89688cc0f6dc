"""The events that services of ours send each other. These models are the contract.

A model is added to, never changed: new fields are optional, a new meaning is a new type with the next version.
`TYPE` is the CloudEvents type; `maestro.<noun>.<past_tense>.v<N>`. Unknown fields are kept out of the model but never
refused, so that a consumer meets a newer minor version without losing the event.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from libs.schemas.values import AnyTenantId, Digest, Instant, Name, Quantity, Zone

Metric = Literal["gql_calls", "ingest_events", "storage_gb"]
KeyKind = Literal["operator", "tenant", "edge"]


class EventModel(BaseModel):
    """What all event bodies share: frozen, and with a type of their own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]


class TenantChanged(EventModel):
    """tenant-changes, key `tenant/<tenant id>`, compacted: the tenant as it now is."""

    TYPE = "maestro.tenant.changed.v1"

    tenant_id: AnyTenantId
    name: Name
    status: Literal["active", "suspended"] = "active"
    region: str
    billing_zone: Zone = "UTC"
    plan_id: str = Field(description="the plan asked for at registration; what is in force is on plan-changes")
    changed_at: Instant


class KeyChanged(EventModel):
    """tenant-changes, key `key/<key id>`, compacted: an API key as it now is. Holds the digest, never the key."""

    TYPE = "maestro.key.changed.v1"

    key_id: str = Field(pattern=r"^[a-z2-7]{16}$")
    digest: Digest = Field(description="SHA-256 of the whole key text")
    kind: KeyKind
    tenant_id: AnyTenantId | None = Field(None, description="the tenant of a tenant key")
    scopes: tuple[str, ...]
    act_for: tuple[AnyTenantId, ...] = Field((), description="the tenants that an edge key may name")
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    changed_at: Instant


class Limits(BaseModel):
    """What a plan allows: requests per second, ingested events per second, stored gigabytes (10^9 bytes)."""

    model_config = ConfigDict(frozen=True)

    qps: int = Field(gt=0)
    events_s: int = Field(gt=0)
    storage_gb: int = Field(gt=0)


class PriceMap(BaseModel):
    """What a plan charges, in `currency`: per million GraphQL calls, per thousand ingested events."""

    model_config = ConfigDict(frozen=True)

    gql_per_million: Quantity
    ingest_per_k: Quantity


class PlanChanged(EventModel):
    """plan-changes, key `plan/<plan id>/<version>`, compacted: one version of a plan; a version never changes."""

    TYPE = "maestro.plan.changed.v1"

    plan_id: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    version: int = Field(ge=1)
    name: Name
    limits: Limits
    price_map: PriceMap
    currency: str = "USD"
    effective_at: Instant


class PlanAssignment(BaseModel):
    """From `effective_at` on, the tenant is on this version of this plan."""

    model_config = ConfigDict(frozen=True)

    plan_id: str
    version: int
    effective_at: Instant


class TenantPlanChanged(EventModel):
    """plan-changes, key `tenant/<tenant id>`, compacted: all assignments of the tenant, oldest first."""

    TYPE = "maestro.tenant_plan.changed.v1"

    tenant_id: AnyTenantId
    assignments: tuple[PlanAssignment, ...] = Field(min_length=1)
    changed_at: Instant


class WindowTotalled(EventModel):
    """usage-windows, key tenant: the total of one quarter of an hour. An upsert: greater (store_epoch, seq) wins.

    `value` is exact, in `unit`: "1" for counts, "By.us" (byte-microseconds, a whole number) for storage.
    """

    TYPE = "maestro.usage_window.totalled.v1"

    tenant_id: AnyTenantId
    metric: Metric
    window_start: Instant
    value: Quantity
    unit: Literal["1", "By.us"]
    last_gauge: Quantity | None = Field(None, description="bytes stored by all resources as last seen (gauges only)")
    store_epoch: int = Field(ge=0)
    seq: int = Field(ge=1)
    digest: str = Field(pattern=r"^[0-9a-f]{32}$", description="see libs.schemas.windows.window_digest")
    region: str
    watermark_at: Instant | None = Field(None, description="usage up to here is counted")


class CloseRequested(EventModel):
    """close-requests, key tenant: invoicing asks metering to close [starts_at, ends_at) for the tenant."""

    TYPE = "maestro.period_close.requested.v1"

    close_id: str
    tenant_id: AnyTenantId
    period: str = Field(pattern=r"^[0-9]{4}-[0-9]{2}$")
    zone: Zone
    starts_at: Instant
    ends_at: Instant
    early: bool = False
    requested_at: Instant


class FrozenWindow(BaseModel):
    """One window as it was closed."""

    model_config = ConfigDict(frozen=True)

    metric: Metric
    window_start: Instant
    store_epoch: int
    seq: int
    digest: str


class PeriodClosed(EventModel):
    """usage-windows, key tenant: the period is frozen with exactly these windows; later usage is an adjustment."""

    TYPE = "maestro.period.closed.v1"

    close_id: str
    tenant_id: AnyTenantId
    period: str
    zone: Zone
    starts_at: Instant
    ends_at: Instant
    through: Instant = Field(description="gauges are integrated up to here: ends_at, or the request's time if early")
    closed_at: Instant
    tzdata_version: str
    windows: tuple[FrozenWindow, ...]
    totals: dict[Metric, Quantity]


class InvoiceFile(BaseModel):
    """One file of an invoice."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: int
    sha256: Digest


class InvoiceIssued(EventModel):
    """invoices, key tenant: an invoice exists and never changes. `manifest` is base64 of the manifest's bytes."""

    TYPE = "maestro.invoice.issued.v1"

    invoice_id: str
    number: str
    tenant_id: AnyTenantId
    period: str
    total: Quantity
    currency: str
    files: tuple[InvoiceFile, ...]
    manifest: str
    manifest_sha: Digest
    issued_at: Instant


class ManifestSigned(EventModel):
    """evidence-entries, key tenant: a manifest was signed as a blob. `bundle` is the Sigstore bundle's JSON text."""

    TYPE = "maestro.manifest.signed.v1"

    tenant_id: AnyTenantId
    subject_kind: Literal["invoice"]
    subject_id: str
    manifest_sha: Digest
    bundle: str
    key_fingerprint: Digest
    signed_at: Instant


class ChangeRecorded(EventModel):
    """<service>-audit, key `subject`: somebody changed something. The topic says where; each service has its own."""

    TYPE = "maestro.change.recorded.v1"

    action: str = Field(pattern=r"^[a-z_]+\.[a-z_]+$", description="what happened, such as key.revoked")
    subject: str = Field(pattern=r"^[a-z_]+/[A-Za-z0-9_.-]+$", description="what was changed, such as key/<key id>")
    tenant_id: AnyTenantId | None = Field(None, description="whose it is; none for what is the operator's own")
    details: dict[str, str] = Field({}, description="what it was changed to, in words; never a secret")
    actor: str = Field(
        min_length=1,
        max_length=64,
        description="a pseudonym: a key id, or the keyed hash of a person",
    )
    request_id: str = Field(min_length=1, max_length=128)
    reason: str | None = Field(None, max_length=200, description="the header Maestro-Reason, or a command's --reason")
    changed_at: Instant


EVENT_MODELS: tuple[type[EventModel], ...] = (
    TenantChanged,
    KeyChanged,
    PlanChanged,
    TenantPlanChanged,
    WindowTotalled,
    CloseRequested,
    PeriodClosed,
    InvoiceIssued,
    ManifestSigned,
    ChangeRecorded,
)
MODEL_OF_TYPE: dict[str, type[EventModel]] = {model.TYPE: model for model in EVENT_MODELS}
