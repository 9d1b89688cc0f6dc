"""Invoices, their files and signatures. Rows are added; the database refuses to change or remove one."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from libs.schemas.values import Money, Period, TenantId
from libs.signing.digests import sha256_hex
from libs.signing.manifest import BUNDLE_NAME
from libs.store.pool import Tx
from services.invoicing.domain.closing import IssuedInvoice, SignedInvoice

After = tuple[datetime, UUID]
"""Where the page before ended: (created_at, id) of its last row."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an invoice, without its content."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """An invoice as it is listed."""

    id: UUID
    number: str
    tenant_id: TenantId
    period: str
    period_start: date
    period_end: date
    close_id: UUID
    totals: Mapping[str, Any]
    manifest_sha: str
    created_at: datetime
    signed_at: datetime | None
    files: tuple[StoredFile, ...]


async def next_number(tx: Tx, issuer_id: str) -> int:
    """Return the next number of the issuer, from 1; its row is held until the transaction ends: no gap, no double.

    A transaction that fails gives its number back, because the counter goes back with it.
    """
    return int(await tx.fetchval(_NEXT_NUMBER, issuer_id))


async def raise_series(tx: Tx, issuer_id: str, taken: int) -> None:
    """Have the next number of the issuer be above `taken`."""
    await tx.execute(_RAISE_SERIES, issuer_id, taken)


async def stands_as(tx: Tx, invoice_id: UUID) -> tuple[str, str] | None:
    """Return the number and the manifest's digest of the invoice, None where it is not issued."""
    row = await tx.fetchrow("SELECT number, manifest_sha FROM invoices WHERE id = $1", invoice_id)
    return None if row is None else (row["number"], row["manifest_sha"])


async def holder_of(tx: Tx, issuer_id: str, series_number: int) -> UUID | None:
    """Return the invoice that has this number of the issuer."""
    found: UUID | None = await tx.fetchval(_HOLDER, issuer_id, series_number)
    return found


async def add_invoice(tx: Tx, invoice: IssuedInvoice) -> None:
    """Add the invoice with its files; a second one of the same close or tenant and period violates a constraint."""
    await tx.execute(
        _ADD,
        invoice.invoice_id,
        invoice.tenant_id,
        invoice.period.first_day,
        invoice.period.last_day_exclusive,
        json.dumps(invoice.totals),
        invoice.manifest_sha,
        invoice.issued_at,
        invoice.close_id,
        invoice.period.name,
        invoice.issuer_id,
        invoice.series_number,
        invoice.number,
        invoice.total.amount,
        invoice.total.currency,
    )
    names = sorted(invoice.files)
    contents = [invoice.files[name] for name in names]
    await tx.execute(_ADD_FILES, invoice.invoice_id, names, [sha256_hex(content) for content in contents], contents)


async def issued_by_id(tx: Tx, invoice_id: UUID) -> IssuedInvoice | None:
    """Return the invoice with the files that it was issued with."""
    row = await tx.fetchrow(_ISSUED, invoice_id)
    if row is None:
        return None
    files = await tx.fetch(_CONTENTS, invoice_id, BUNDLE_NAME)
    return IssuedInvoice(
        invoice_id=row["id"],
        close_id=row["close_id"],
        tenant_id=TenantId(row["tenant_id"]),
        number=row["number"],
        issuer_id=row["issuer_id"],
        series_number=row["series_number"],
        period=Period(row["period"], row["zone"], row["starts_at"], row["ends_at"]),
        total=Money(row["total"], row["currency"]),
        totals=json.loads(row["totals"]),
        issued_at=row["created_at"],
        files={file["name"]: file["content"] for file in files},
    )


async def add_signature(tx: Tx, signed: SignedInvoice) -> bool:
    """Add the bundle as the invoice's last file; False where it is signed already: the first signature stands."""
    invoice_id = signed.invoice.invoice_id
    if await tx.fetchval(_ADD_SIGNATURE, invoice_id, signed.key_fingerprint, signed.signed_at) is None:
        return False
    await tx.execute(_ADD_FILES, invoice_id, [BUNDLE_NAME], [sha256_hex(signed.bundle)], [signed.bundle])
    return True


async def invoice_by_id(tx: Tx, invoice_id: UUID) -> InvoiceRow | None:
    """Return the invoice as it is listed."""
    row = await tx.fetchrow(_BY_ID, invoice_id)
    return None if row is None else _listed(row)


async def invoices_after(
    tx: Tx, after: After | None, limit: int, tenant_ids: Collection[TenantId] | None, period: str | None
) -> Sequence[InvoiceRow]:
    """Return up to `limit` invoices of `tenant_ids` (None: of all) and `period` (None: of all), newest first."""
    tenants = None if tenant_ids is None else list(tenant_ids)
    rows = await tx.fetch(_AFTER, *(after or (None, None)), limit, tenants, period)
    return [_listed(row) for row in rows]


async def content_of(tx: Tx, invoice_id: UUID, name: str) -> tuple[bytes, str] | None:
    """Return the exact bytes of the file and their SHA-256; None where the invoice has no such file (yet)."""
    row = await tx.fetchrow(_CONTENT, invoice_id, name)
    return None if row is None else (row["content"], row["sha256"])


def _listed(row: asyncpg.Record) -> InvoiceRow:
    values = dict(row)
    sizes = zip(values.pop("names"), values.pop("sizes"), values.pop("digests"), strict=True)
    files = tuple(StoredFile(*file) for file in sizes)
    return InvoiceRow(**values | {"totals": json.loads(values["totals"]), "files": files})


_NEXT_NUMBER: Final = """
INSERT INTO number_series AS series (issuer_id, last_number) VALUES ($1, 1)
ON CONFLICT (issuer_id) DO UPDATE SET last_number = series.last_number + 1 RETURNING last_number
"""
_RAISE_SERIES: Final = """
INSERT INTO number_series AS series (issuer_id, last_number) VALUES ($1, $2)
ON CONFLICT (issuer_id) DO UPDATE SET last_number = excluded.last_number WHERE series.last_number < excluded.last_number
"""
_HOLDER: Final = "SELECT id FROM invoices WHERE issuer_id = $1 AND series_number = $2"
_ADD: Final = """
INSERT INTO invoices (id, tenant_id, period_start, period_end, totals, manifest_sha, created_at, close_id, period,
  issuer_id, series_number, number, total, currency)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""
_ADD_FILES: Final = """
INSERT INTO invoice_file (invoice_id, name, sha256, content)
SELECT $1, file.* FROM unnest($2::text[], $3::text[], $4::bytea[]) AS file
"""
_ISSUED: Final = """
SELECT invoices.*, close.zone, close.starts_at, close.ends_at FROM invoices JOIN close USING (close_id)
WHERE invoices.id = $1
"""
_CONTENTS: Final = "SELECT name, content FROM invoice_file WHERE invoice_id = $1 AND name <> $2"
_CONTENT: Final = "SELECT content, sha256 FROM invoice_file WHERE invoice_id = $1 AND name = $2"
_ADD_SIGNATURE: Final = """
INSERT INTO invoice_signature (invoice_id, key_fingerprint, signed_at) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING true
"""
_LISTED: Final = """
SELECT invoices.id, number, tenant_id, period, period_start, period_end, close_id, totals, manifest_sha, created_at,
  signature.signed_at, files.names, files.sizes, files.digests
FROM invoices
LEFT JOIN invoice_signature AS signature ON signature.invoice_id = invoices.id
CROSS JOIN LATERAL (
  SELECT array_agg(name ORDER BY name) AS names, array_agg(octet_length(content) ORDER BY name) AS sizes,
    array_agg(sha256::text ORDER BY name) AS digests
  FROM invoice_file WHERE invoice_id = invoices.id) AS files
"""
_BY_ID: Final = _LISTED + "WHERE invoices.id = $1"
_AFTER: Final = (
    _LISTED
    + """
WHERE ($1::timestamptz IS NULL OR (invoices.created_at, invoices.id) < ($1, $2::uuid))
  AND ($4::text[] IS NULL OR invoices.tenant_id = ANY($4)) AND ($5::text IS NULL OR invoices.period = $5)
ORDER BY invoices.created_at DESC, invoices.id DESC LIMIT $3
"""
)
