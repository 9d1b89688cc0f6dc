"""What was told of an invoice comes back as it was, or is refused; and which numbers are of a series."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.invoicing.domain.told import ToldInvoice
from services.invoicing.errors import ToldOtherwise
from tests.support.invoicing import ISSUER, copied, issued

INVOICE = issued([copied("gql_calls", 0, 1_234_567)])
TOLD = ToldInvoice.of(INVOICE.event())


@given(st.integers(1, 10**18 - 1))
def test_every_number_of_a_series_has_its_place(place: int) -> None:
    assert ISSUER.series_number(ISSUER.number(place)) == place


@pytest.mark.parametrize(
    "number",
    [
        "MST-1",  # not as we write it
        "MST-0000001",
        "000001",
        "MST2-000001",
        "mst-000001",
        "MST-00001a",
        "MST--00001",
        "MST-+00001",
        "MST-",
        "",
        "MST-\u0660\u0660\u0660\u0660\u0660\u0661",  # digits, and not ours
        "MST-" + "9" * 19,
        "MST-" + "9" * 10_000,  # more than int() takes
    ],
)
def test_a_number_that_is_not_of_the_series_has_no_place(number: str) -> None:
    assert ISSUER.series_number(number) is None


def test_what_was_told_is_what_was_issued() -> None:
    TOLD.require_same(INVOICE.number, INVOICE.manifest_sha)
    assert (TOLD.invoice_id, TOLD.tenant_id) == (str(INVOICE.invoice_id), INVOICE.tenant_id)


@pytest.mark.parametrize(
    ("number", "manifest_sha"),
    [("MST-000002", INVOICE.manifest_sha), (INVOICE.number, "0" * 64)],
    ids=["another number", "other bytes"],
)
def test_an_invoice_that_is_not_the_same_is_refused_and_both_are_named(number: str, manifest_sha: str) -> None:
    with pytest.raises(ToldOtherwise) as refused:
        TOLD.require_same(number, manifest_sha)
    assert all(word in str(refused.value) for word in (TOLD.number, TOLD.manifest_sha, number, manifest_sha))
