"""What the files say, read back by readers that are not ours."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from libs.signing.canonical import canonical_bytes
from libs.signing.digests import sha256_hex
from libs.signing.manifest import Manifest, Subject
from services.invoicing.domain.closing import IssuedInvoice
from services.invoicing.domain.documents import CSV_COLUMNS, inert
from services.invoicing.domain.rating import GB_HOUR_BYTE_US
from tests.support.invoicing import TENANT, copied, issued, requested

COPIES = [copied("gql_calls", 0, 1_234_567), copied("ingest_events", 3, 500), copied("storage_gb", 0, GB_HOUR_BYTE_US)]


def document(invoice: IssuedInvoice) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(invoice.files["invoice.json"])
    return parsed


def table(invoice: IssuedInvoice) -> list[Mapping[str, str]]:
    return list(csv.DictReader(io.StringIO(invoice.files["invoice.csv"].decode("utf-8"), newline="")))


def test_the_same_facts_gave_these_bytes_when_the_first_invoice_was_issued_and_give_them_still() -> None:
    assert issued(COPIES).manifest_sha == "028f06c5baa733bd5fe1391508650eda5089dccb4b667c91c8c92a73bbfb3852"


def test_the_json_is_canonical() -> None:
    assert canonical_bytes(document(issued(COPIES))) == issued(COPIES).files["invoice.json"]


def test_every_number_that_must_be_exact_is_a_string() -> None:
    line = document(issued(COPIES))["lines"][0]
    assert {name: line[name] for name in ("quantity", "base_quantity", "unit_price", "price_per", "amount")} == {
        "quantity": "1234567",
        "base_quantity": "1234567",
        "unit_price": "2",
        "price_per": "1000000",
        "amount": "2.47",
    }


def test_the_totals_repeat_what_the_lines_add_up_to() -> None:
    totals = document(issued(COPIES))["totals"]
    assert totals["total"] == "2.52"
    assert totals["usage"]["storage_gb"] == {
        "quantity": "1",
        "unit": "GB.h",
        "base_quantity": str(GB_HOUR_BYTE_US),
        "base_unit": "By.us",
        "amount": "0.00",
    }


def test_the_json_says_what_the_invoice_rests_on() -> None:
    basis = document(issued(COPIES))["basis"]
    assert (basis["close_id"], basis["window_count"], basis["tzdata_version"]) == (
        str(requested().close_id),
        3,
        "2026a",
    )
    assert len(basis["windows_sha256"]) == 64


def test_the_csv_holds_the_fixed_columns_in_their_order_and_one_row_a_line() -> None:
    rows = issued(COPIES).files["invoice.csv"].decode("utf-8").split("\r\n")
    assert rows[0].split(",") == list(CSV_COLUMNS)
    assert rows[-1] == ""
    assert len(rows) == 1 + 3 + 1


def test_the_csv_has_no_line_end_but_crlf() -> None:
    content = issued(COPIES).files["invoice.csv"]
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")


def test_csv_and_json_agree_in_every_cell_that_both_have() -> None:
    lines = document(issued(COPIES))["lines"]
    shared = (
        "metric",
        "plan_id",
        "quantity",
        "unit",
        "base_quantity",
        "base_unit",
        "unit_price",
        "price_per",
        "amount",
    )
    assert [{name: row[name] for name in shared} for row in table(issued(COPIES))] == [
        {name: line[name] for name in shared} for line in lines
    ]


def test_the_amounts_of_the_csv_add_up_to_the_total_of_the_json() -> None:
    invoice = issued(COPIES)
    assert sum(Decimal(row["amount"]) for row in table(invoice)) == Decimal(document(invoice)["totals"]["total"])


def test_the_csv_dates_are_the_first_day_and_the_day_after_the_last() -> None:
    row = table(issued(COPIES))[0]
    assert (row["period_start"], row["period_end"]) == ("2026-10-01", "2026-11-01")


def test_the_manifest_names_both_files_by_size_and_digest() -> None:
    files = issued(COPIES).files
    manifest = Manifest.from_bytes(files["manifest.json"])
    assert manifest.subject == Subject(kind="invoice", tenant_id=TENANT, number="MST-000001", period="2026-10")
    assert [(entry.name, entry.size, entry.sha256) for entry in manifest.files] == [
        (name, len(files[name]), sha256_hex(files[name])) for name in ("invoice.csv", "invoice.json")
    ]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_cell_that_a_spreadsheet_would_compute_is_made_inert(cell: str) -> None:
    assert inert(cell) == f"'{cell}"


def test_an_ordinary_cell_stays_as_it_is() -> None:
    assert inert("MST-000001") == "MST-000001"
