"""Invoices as invoicing announces them, for those who sign and check."""

import base64
from datetime import UTC, datetime
from decimal import Decimal

from libs.bus.envelope import EventMeta, Received
from libs.bus.records import Record
from libs.schemas.events import InvoiceFile, InvoiceIssued
from libs.schemas.values import TenantId
from libs.signing.digests import sha256_hex
from libs.signing.manifest import Manifest, Subject

TENANT = TenantId("tnt_aaaaaaaaaaaaaaaaaaaa")
OTHER_TENANT = TenantId("tnt_bbbbbbbbbbbbbbbbbbbb")


def issued_invoice(
    number: str = "MST-000001", *, tenant_id: TenantId = TENANT, invoice_id: str | None = None, text: str = ""
) -> InvoiceIssued:
    """An invoice of two files whose manifest fits; `text` makes its bytes others."""
    contents = {"invoice.json": f'{{"number":"{number}{text}"}}'.encode(), "invoice.csv": b"metric,value\n"}
    subject = Subject(kind="invoice", tenant_id=tenant_id, number=number, period="2026-10")
    manifest = Manifest.of(subject, contents).to_bytes()
    return InvoiceIssued(
        invoice_id=invoice_id or f"invoice-of-{number}",
        number=number,
        tenant_id=tenant_id,
        period="2026-10",
        total=Decimal("12.50"),
        currency="USD",
        files=tuple(
            InvoiceFile(name=name, size=len(content), sha256=sha256_hex(content)) for name, content in contents.items()
        ),
        manifest=base64.b64encode(manifest).decode(),
        manifest_sha=sha256_hex(manifest),
        issued_at=datetime(2026, 11, 1, tzinfo=UTC),
    )


def received(invoice: InvoiceIssued) -> Received[InvoiceIssued]:
    """The invoice as a handler gets it."""
    meta = EventMeta("id", "source", InvoiceIssued.TYPE, None, invoice.issued_at, None, None, None)
    return Received(invoice, meta, Record("invoices", 0, 0, None, None, (), 0))
