"""The HTTP API of invoicing: ask for closes, follow them, read invoices and their files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from libs.access.principal import Principal
from libs.access.reach import rows_of
from libs.access.request import ACT_REFUSALS, CLAIM_REFUSALS, Acting, Caller, Claimed, json_answer
from libs.runtime.errors import Forbidden, NotFound, TooLarge
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import refusals
from libs.runtime.paging import DEFAULT_LIMIT, MAX_LIMIT, MalformedCursor, Page, moment, page_of, place_of
from libs.schemas.values import MONTH_PATTERN, AnyTenantId, BadPeriod, Instant, TenantId
from libs.signing.bundle import MEDIA_TYPE as BUNDLE_MEDIA_TYPE
from libs.signing.manifest import BUNDLE_NAME, MANIFEST_NAME
from libs.store.once import Answer, once
from libs.store.opening import Pools
from libs.store.pool import Tx
from services.invoicing.domain.closing import Progress
from services.invoicing.domain.documents import CSV_NAME, FILE_NAMES, JSON_NAME
from services.invoicing.errors import (
    NotSignedYet,
    PeriodBeforeTenant,
    PeriodNotOver,
    PeriodNotStarted,
    UnknownClose,
    UnknownFile,
    UnknownInvoice,
    UnknownTenant,
)
from services.invoicing.handlers import Closing
from services.invoicing.store import closes, invoices

MAX_BODY_BYTES: Final = 65_536
MAX_TENANTS: Final = 1_000  # named in one request; a request that names none means all
MEDIA_TYPE_OF: Final = {
    JSON_NAME: "application/json",
    CSV_NAME: "text/csv; charset=utf-8; header=present",  # RFC 4180, section 3
    MANIFEST_NAME: "application/json",
    BUNDLE_NAME: BUNDLE_MEDIA_TYPE,
}
FILE: Final[dict[str, Any]] = {"description": "the file, byte for byte; the ETag is its SHA-256"}

router = StrictRouter(
    prefix="/v1",
    max_body_size=MAX_BODY_BYTES,
    responses=refusals(TooLarge),
)


class CloseBody(BaseModel):
    """Whose period to close; `early` bills what there is although the period is not over."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"tenants": ["tnt_aaaaaaaaaaaaaaaaaaaa"], "early": False}]},
    )

    tenants: Annotated[tuple[AnyTenantId, ...], Field(min_length=1, max_length=MAX_TENANTS)] | None = None
    early: bool = False


class CloseShown(BaseModel):
    """A close, how far it is, and what it waits for, in words (null at the end)."""

    close_id: UUID
    tenant_id: str
    period: str
    zone: str
    starts_at: Instant
    ends_at: Instant
    early: bool
    requested_at: Instant
    status: str = Field(description="requested, frozen, issued or signed")
    waits_for: str | None
    frozen_at: Instant | None
    invoice_id: UUID | None
    issued_at: Instant | None
    signed_at: Instant | None


class Links(BaseModel):
    """Where to look next."""

    closes: str
    invoices: str


class ClosesAnswer(BaseModel):
    """The closes of the period, those that were asked for before included."""

    closes: list[CloseShown]
    links: Links


class FileShown(BaseModel):
    """One file of an invoice, and where it is to be had."""

    name: str
    size: int
    sha256: str
    url: str


class InvoiceShown(BaseModel):
    """An invoice. `period_end` is the day after the last; `totals` holds the total, and the usage per metric."""

    invoice_id: UUID
    number: str
    tenant_id: str
    period: str
    period_start: date
    period_end: date
    status: str = Field(description="issued or signed")
    totals: dict[str, Any]
    manifest_sha: str
    close_id: UUID
    created_at: Instant
    signed_at: Instant | None
    files: list[FileShown]


async def pools_of(request: Request) -> Pools:
    """Return the connections that the wiring put there."""
    pools: Pools = request.app.state.pools
    return pools


async def closing_of(request: Request) -> Closing:
    """Return the handler of closes that the wiring put there."""
    closing: Closing = request.app.state.closing
    return closing


Db = Annotated[Pools, Depends(pools_of)]
Desk = Annotated[Closing, Depends(closing_of)]
Cursor = Annotated[str | None, Query()]
Month = Annotated[str | None, Query(pattern=f"^{MONTH_PATTERN}$")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


@router.post(
    "/invoices/{period}/close",
    status_code=202,
    response_model=ClosesAnswer,
    responses=refusals(
        *(*CLAIM_REFUSALS, *ACT_REFUSALS, BadPeriod, Forbidden),
        *(UnknownTenant, PeriodNotOver, PeriodNotStarted, PeriodBeforeTenant),
    ),
)
async def close_period(
    period: str, caller: Caller, act: Acting, claim: Claimed, desk: Desk, db: Db, body: CloseBody | None = None
) -> Response:
    """Close a calendar month (2026-11) of the tenants named, or of all. Asking again returns the same closes."""
    caller.require("invoices:close")
    asked = body or CloseBody()
    tenant_ids = _closable(caller, asked.tenants)

    async def effect(tx: Tx) -> Answer:
        standing = await desk.request(tx, period, tenant_ids, act, early=asked.early)
        links = Links(closes="/v1/closes", invoices=f"/v1/invoices?period={period}")
        answer = ClosesAnswer(closes=[_close(one) for one in standing], links=links)
        return Answer(202, answer.model_dump_json().encode())

    opening = rows_of(tenant_ids, db, caller, f"{period} is closed", writes=True)
    return json_answer(await once(opening, claim, effect))


@router.get("/closes", responses=refusals(Forbidden, NotFound, MalformedCursor))
async def list_closes(
    caller: Caller, db: Db, tenant: AnyTenantId | None = None, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[CloseShown]:
    """List the closes that the key may see, those asked for last first."""
    caller.require("invoices:read")
    after, tenants = place_of(cursor, moment, UUID), _readable(caller, tenant)
    async with rows_of(tenants, db, caller, "closes are listed") as tx:
        rows = await closes.progress_after(tx, after, limit + 1, tenants)
    return page_of(rows, limit, _close, lambda row: (row.request.requested_at, row.request.close_id))


@router.get("/closes/{close_id}", responses=refusals(Forbidden, UnknownClose))
async def get_close(close_id: UUID, caller: Caller, db: Db) -> CloseShown:
    """Return one close: how far it is and what it waits for."""
    caller.require("invoices:read")
    async with rows_of(caller.visible, db, caller, "a close is read") as tx:
        found = await closes.progress_by_id(tx, close_id)
    if found is None or not caller.sees(found.request.tenant_id):
        raise UnknownClose("there is no such close, or it is not yours")
    return _close(found)


@router.get("/invoices", responses=refusals(Forbidden, NotFound, MalformedCursor))
async def list_invoices(
    caller: Caller,
    db: Db,
    tenant: AnyTenantId | None = None,
    period: Month = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[InvoiceShown]:
    """List the invoices that the key may see, newest first."""
    caller.require("invoices:read")
    after, tenants = place_of(cursor, moment, UUID), _readable(caller, tenant)
    async with rows_of(tenants, db, caller, "invoices are listed") as tx:
        rows = await invoices.invoices_after(tx, after, limit + 1, tenants, period)
    return page_of(rows, limit, _invoice, lambda row: (row.created_at, row.id))


@router.get("/invoices/{invoice_id}", responses=refusals(Forbidden, UnknownInvoice))
async def get_invoice(invoice_id: UUID, caller: Caller, db: Db) -> InvoiceShown:
    """Return one invoice."""
    async with rows_of(caller.visible, db, caller, "an invoice is read") as tx:
        return _invoice(await _own_invoice(tx, invoice_id, caller))


@router.get(
    "/invoices/{invoice_id}/files/{name}",
    response_class=Response,
    responses={
        200: {"content": {kind.partition(";")[0]: {"schema": FILE} for kind in MEDIA_TYPE_OF.values()}},
        304: {"description": "the caller has it already: If-None-Match names its digest"},
        **refusals(Forbidden, UnknownInvoice, UnknownFile, NotSignedYet),
    },
)
async def get_file(
    invoice_id: UUID, name: str, caller: Caller, db: Db, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """Return the exact bytes of a file; its ETag is their SHA-256."""
    async with rows_of(caller.visible, db, caller, "a file is read") as tx:
        await _own_invoice(tx, invoice_id, caller)
        if name not in FILE_NAMES:
            raise UnknownFile(f"an invoice has the files {', '.join(FILE_NAMES)}")
        found = await invoices.content_of(tx, invoice_id, name)
    if found is None:
        raise NotSignedYet(f"{name} is here as soon as evidence has signed the manifest; ask again in a moment")
    content, sha256 = found
    headers = {"etag": f'"{sha256}"', "cache-control": "private, max-age=31536000, immutable"}
    if if_none_match is not None and sha256 in if_none_match:
        return Response(status_code=304, headers=headers)
    headers |= {"content-disposition": f'attachment; filename="{name}"', "x-content-type-options": "nosniff"}
    return Response(content, media_type=MEDIA_TYPE_OF[name], headers=headers)


def _closable(caller: Principal, named: Sequence[TenantId] | None) -> list[TenantId] | None:
    """The tenants that a close is for: those named, else all that the key may see (None: all there are)."""
    if named is None:
        return None if caller.visible is None else sorted(caller.visible)
    return [caller.reading(tenant_id) for tenant_id in named]


def _readable(caller: Principal, named: TenantId | None) -> frozenset[TenantId] | None:
    return caller.visible if named is None else frozenset((caller.reading(named),))


async def _own_invoice(tx: Tx, invoice_id: UUID, caller: Principal) -> invoices.InvoiceRow:
    caller.require("invoices:read")
    found = await invoices.invoice_by_id(tx, invoice_id)
    if found is None or not caller.sees(found.tenant_id):
        raise UnknownInvoice("there is no such invoice, or it is not yours")
    return found


def _close(progress: Progress) -> CloseShown:
    request = progress.request
    return CloseShown(
        close_id=request.close_id,
        tenant_id=request.tenant_id,
        period=request.period.name,
        zone=request.period.zone,
        starts_at=request.period.starts_at,
        ends_at=request.period.ends_at,
        early=request.early,
        requested_at=request.requested_at,
        status=progress.status,
        waits_for=progress.waits_for,
        frozen_at=progress.frozen_at,
        invoice_id=progress.invoice_id,
        issued_at=progress.issued_at,
        signed_at=progress.signed_at,
    )


def _invoice(row: invoices.InvoiceRow) -> InvoiceShown:
    home = f"/v1/invoices/{row.id}/files"
    return InvoiceShown(
        invoice_id=row.id,
        number=row.number,
        tenant_id=row.tenant_id,
        period=row.period,
        period_start=row.period_start,
        period_end=row.period_end,
        status="issued" if row.signed_at is None else "signed",
        totals=dict(row.totals),
        manifest_sha=row.manifest_sha,
        close_id=row.close_id,
        created_at=row.created_at,
        signed_at=row.signed_at,
        files=[
            FileShown(name=file.name, size=file.size, sha256=file.sha256, url=f"{home}/{file.name}")
            for file in row.files
        ],
    )
