from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples.hello_tenant.ledger import Count, Entry, Ledger, Row, ledger_of

ROW = Row("tnt_a", "gql_calls", offered=900, admitted=870, denied=30, metered=870, invoiced=870)
counts = st.integers(min_value=0, max_value=10**30)


def test_a_ledger_in_which_every_equality_holds_balances() -> None:
    assert Ledger((ROW,)).balances


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("column", ["offered", "admitted", "denied", "metered", "invoiced"])
def test_one_unit_in_any_column_is_seen(column: str, by: int) -> None:
    corrupt = replace(ROW, **{column: getattr(ROW, column) + by})
    assert not Ledger((ROW, corrupt)).balances


def test_a_difference_names_tenant_metric_and_both_numbers() -> None:
    ledger = Ledger((ROW, replace(ROW, tenant="tnt_b", metered=869, invoiced=869)))
    assert [str(difference) for difference in ledger.differences] == [
        "tnt_b gql_calls: admitted 870, metered 869 (differs by -1)"
    ]


def test_every_broken_equality_of_a_row_is_listed() -> None:
    ledger = Ledger((replace(ROW, offered=901, metered=871, invoiced=872),))
    assert [difference.left for difference in ledger.differences] == ["offered", "admitted", "metered"]


def test_a_ledger_without_rows_proves_nothing() -> None:
    assert not Ledger(()).balances


@given(admitted=counts, denied=counts)
def test_what_three_independent_counts_agree_on_balances(admitted: int, denied: int) -> None:
    entry = ("tnt_a", "storage_gb")
    ledger = ledger_of({entry: Count(admitted + denied, admitted, denied)}, {entry: admitted}, {entry: admitted})
    assert ledger.balances


@pytest.mark.parametrize(
    ("counted", "metered", "invoiced"),
    [
        ({("tnt_a", "gql_calls"): Count(1, 1, 0)}, {}, {}),
        ({}, {("tnt_a", "gql_calls"): 1}, {("tnt_a", "gql_calls"): 1}),
        ({}, {}, {("tnt_a", "gql_calls"): 1}),
    ],
    ids=["usage that was lost", "usage that nobody caused", "an invoice for nothing"],
)
def test_what_only_one_side_knows_is_a_difference(
    counted: dict[Entry, Count], metered: dict[Entry, int], invoiced: dict[Entry, int]
) -> None:
    assert not ledger_of(counted, metered, invoiced).balances


def test_rows_stand_in_the_order_of_tenant_and_metric() -> None:
    ledger = ledger_of({("b", "x"): Count(0, 0, 0)}, {("a", "y"): 0}, {("a", "x"): 0})
    assert [(row.tenant, row.metric) for row in ledger.rows] == [("a", "x"), ("a", "y"), ("b", "x")]
