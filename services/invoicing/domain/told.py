"""What we said of an invoice before our store lost it: it is issued again with the same number and the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from libs.schemas.events import InvoiceIssued
from libs.schemas.values import rfc3339
from services.invoicing.errors import ToldOtherwise


@dataclass(frozen=True, slots=True)
class ToldInvoice:
    """An invoice as it stands on the topic `invoices`."""

    invoice_id: str
    tenant_id: str
    number: str
    manifest_sha: str
    issued_at: datetime

    @classmethod
    def of(cls, said: InvoiceIssued) -> ToldInvoice:
        """Return what must come back of it; the files come from the same close."""
        return cls(said.invoice_id, said.tenant_id, said.number, said.manifest_sha, said.issued_at)

    def require_same(self, number: str, manifest_sha: str) -> None:
        """Raise ToldOtherwise where the invoice that we have, or would issue, is not this one."""
        if (number, manifest_sha) != (self.number, self.manifest_sha):
            raise ToldOtherwise(
                f"invoice {self.invoice_id} was told of as {self.number}, manifest {self.manifest_sha}, at"
                f" {rfc3339(self.issued_at)}; here it is {number}, manifest {manifest_sha}"
            )
