"""The files of an invoice. Nothing in them depends on when, where or how often they are made: same facts, same bytes.

`invoice.json` is canonical JSON (RFC 8785) with every number that must be exact as a string; `invoice.csv` is RFC 4180
with CRLF; `manifest.json` names both by size and SHA-256 and is what evidence signs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Final
from uuid import UUID

from libs.runtime.names import URI_BASE
from libs.schemas.values import EXACT, Money, Period, TenantId, plain, rfc3339
from libs.signing.canonical import CanonicalValue, canonical_bytes
from libs.signing.manifest import BUNDLE_NAME, MANIFEST_NAME, Manifest, Subject
from services.invoicing.domain.rating import TARIFFS, Line, Rating

INVOICE_SCHEMA: Final = URI_BASE + "schemas/invoice/v1"
JSON_NAME: Final = "invoice.json"
CSV_NAME: Final = "invoice.csv"
FILE_NAMES: Final = (JSON_NAME, CSV_NAME, MANIFEST_NAME, BUNDLE_NAME)

CSV_COLUMNS: Final = (
    "invoice_number",
    "tenant_id",
    "period_start",
    "period_end",
    "line",
    "metric",
    "plan_id",
    "plan_version",
    "quantity",
    "unit",
    "base_quantity",
    "base_unit",
    "unit_price",
    "price_per",
    "amount",
    "currency",
)
_SERIES_DIGITS: Final = 18  # more would not fit the store's counter
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")  # what makes spreadsheets compute a cell (OWASP)


@dataclass(frozen=True, slots=True)
class Issuer:
    """The legal entity that bills; each has its own gapless series of numbers."""

    issuer_id: str
    name: str
    number_prefix: str

    def number(self, series_number: int) -> str:
        """Return the invoice number: six digits at least, so that they sort as text for the first million."""
        return f"{self.number_prefix}-{series_number:06d}"

    def series_number(self, number: str) -> int | None:
        """Return the place of an invoice number in this series; None where it is of another, or beyond a bigint."""
        digits = number.removeprefix(f"{self.number_prefix}-")
        if len(digits) > _SERIES_DIGITS or not digits.isdecimal():
            return None
        return int(digits) if self.number(int(digits)) == number else None


@dataclass(frozen=True, slots=True)
class Basis:
    """What the invoice rests on: the close, its frozen windows by count and digest, the zone rules they were cut by."""

    close_id: UUID
    closed_at: datetime
    through: datetime
    window_count: int
    windows_digest: str
    tzdata_version: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything that an invoice says."""

    invoice_id: UUID
    number: str
    issuer: Issuer
    tenant_id: TenantId
    period: Period
    rating: Rating
    basis: Basis
    issued_at: datetime


def money_text(money: Money) -> str:
    """Return a rounded amount with all its minor digits, without the currency: "2.50", and "250" in JPY."""
    return format(money.amount, "f")


def totals_of(rating: Rating) -> dict[str, CanonicalValue]:
    """Return the total, and per metric the sums over its lines."""
    return {
        "total": money_text(rating.total),
        "currency": rating.total.currency,
        "usage": {tariff.metric: _usage_of(rating, tariff.metric) for tariff in TARIFFS},
    }


def files_of(draft: Draft) -> dict[str, bytes]:
    """Return invoice.json, invoice.csv and the manifest over both, by name."""
    contents = {JSON_NAME: canonical_bytes(_document(draft)), CSV_NAME: _table(draft)}
    subject = Subject(kind="invoice", tenant_id=draft.tenant_id, number=draft.number, period=draft.period.name)
    return contents | {MANIFEST_NAME: Manifest.of(subject, contents).to_bytes()}


def _usage_of(rating: Rating, metric: str) -> dict[str, CanonicalValue]:
    lines = [line for line in rating.lines if line.tariff.metric == metric]
    return {
        "quantity": plain(reduce(EXACT.add, (line.quantity for line in lines), Decimal(0))),
        "unit": lines[0].tariff.unit,
        "base_quantity": plain(reduce(EXACT.add, (line.base_quantity for line in lines), Decimal(0))),
        "base_unit": lines[0].tariff.base_unit,
        "amount": money_text(reduce(Money.__add__, (line.amount for line in lines))),
    }


def _document(draft: Draft) -> dict[str, CanonicalValue]:
    period, basis = draft.period, draft.basis
    return {
        "schema": INVOICE_SCHEMA,
        "invoice_id": str(draft.invoice_id),
        "number": draft.number,
        "issuer": {"id": draft.issuer.issuer_id, "name": draft.issuer.name},
        "tenant_id": draft.tenant_id,
        "period": {
            "name": period.name,
            "zone": period.zone,
            "starts_at": rfc3339(period.starts_at),
            "ends_at": rfc3339(period.ends_at),
            "usage_through": rfc3339(basis.through),
        },
        "currency": draft.rating.total.currency,
        "lines": [_line_of(line) for line in draft.rating.lines],
        "totals": totals_of(draft.rating),
        "basis": {
            "close_id": str(basis.close_id),
            "closed_at": rfc3339(basis.closed_at),
            "window_count": basis.window_count,
            "windows_sha256": basis.windows_digest,
            "tzdata_version": basis.tzdata_version,
        },
        "issued_at": rfc3339(draft.issued_at),
    }


def _line_of(line: Line) -> dict[str, CanonicalValue]:
    return {
        "line": line.position,
        "metric": line.tariff.metric,
        "plan_id": line.plan.plan_id,
        "plan_version": line.plan.version,
        "quantity": plain(line.quantity),
        "unit": line.tariff.unit,
        "base_quantity": plain(line.base_quantity),
        "base_unit": line.tariff.base_unit,
        "unit_price": plain(line.unit_price),
        "price_per": str(line.tariff.price_per),
        "exact_amount": plain(line.exact.amount),
        "amount": money_text(line.amount),
        "explanation": line.explanation,
    }


def _table(draft: Draft) -> bytes:
    """One row per line of the invoice, columns CSV_COLUMNS."""
    shared = {
        "invoice_number": draft.number,
        "tenant_id": draft.tenant_id,
        "period_start": draft.period.first_day.isoformat(),
        "period_end": draft.period.last_day_exclusive.isoformat(),
        "currency": draft.rating.total.currency,
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(_cells(shared | _line_of(line)) for line in draft.rating.lines)
    return text.getvalue().encode("utf-8")


def _cells(row: Mapping[str, CanonicalValue]) -> dict[str, str]:
    return {column: inert(str(row[column])) for column in CSV_COLUMNS}


def inert(cell: str) -> str:
    """Return `cell` such that a spreadsheet shows it and computes nothing.

    No number of an invoice is negative, so a leading sign is never a number's. Source: OWASP, CSV Injection.
    """
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
