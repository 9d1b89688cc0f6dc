"""Invoices that were told of and are not in this store."""

from __future__ import annotations

from typing import Final

from libs.store.pool import Tx
from services.invoicing.domain.told import ToldInvoice


async def add_told(tx: Tx, told: ToldInvoice) -> ToldInvoice:
    """Keep it unless its invoice is known, and return what is kept of that one."""
    await tx.execute(_ADD, told.invoice_id, told.tenant_id, told.number, told.manifest_sha, told.issued_at)
    kept = await told_by_id(tx, told.invoice_id)
    assert kept is not None
    return kept


async def told_by_id(tx: Tx, invoice_id: str) -> ToldInvoice | None:
    """Return what was told of the invoice and had been lost."""
    row = await tx.fetchrow(_BY_ID, invoice_id)
    return None if row is None else ToldInvoice(**row)


_ADD: Final = """
INSERT INTO told_invoice (invoice_id, tenant_id, number, manifest_sha, issued_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (invoice_id) DO NOTHING
"""
_BY_ID: Final = """
SELECT invoice_id, tenant_id, number, manifest_sha, issued_at FROM told_invoice WHERE invoice_id = $1
"""
