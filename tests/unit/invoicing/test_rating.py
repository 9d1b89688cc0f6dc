"""What usage costs."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.schemas.events import Metric
from services.invoicing.domain.pricing import PlanHistory
from services.invoicing.domain.rating import GB_HOUR_BYTE_US, Rating, gb_hours, rate
from services.invoicing.domain.windows import WindowCopy
from services.invoicing.errors import MixedCurrencies
from tests.support.invoicing import OCTOBER, at, copied, history, plan_changed, starter, version

METRICS: list[Metric] = ["gql_calls", "ingest_events", "storage_gb"]
WINDOWS = st.lists(
    st.builds(
        copied,
        st.sampled_from(METRICS),
        st.integers(0, 2975),
        st.integers(0, 10**24),
    ),
    max_size=12,
    unique_by=lambda copy: (copy.metric, copy.window_start),
)
CHANGES = st.lists(st.integers(1, 2975), max_size=4, unique=True).map(sorted)


def rated(copies: list[WindowCopy], plans: PlanHistory | None = None) -> Rating:
    return rate(copies, plans or starter(), OCTOBER.starts_at)


def amounts(rating: Rating) -> list[str]:
    return [f"{line.tariff.metric} {line.quantity:f} {line.amount.amount:f}" for line in rating.lines]


def changing_at(windows: list[int]) -> PlanHistory:
    """A tenant that moves to the next version of its plan, dearer each time, at each of these windows."""
    starts = [at(0), *(at(window) for window in windows)]
    versions = [version(number=number, gql=str(number), ingest=f"0.{number}") for number in range(1, len(starts) + 1)]
    return history(versions, *(("starter", number, start) for number, start in enumerate(starts, start=1)))


def test_calls_are_priced_per_million_and_events_per_thousand() -> None:
    copies = [copied("gql_calls", 0, 1_234_567), copied("ingest_events", 0, 98_765)]
    assert amounts(rated(copies)) == [
        "gql_calls 1234567 2.47",
        "ingest_events 98765 9.88",
        "storage_gb 0.000000000000 0.00",
    ]


def test_storage_is_billed_in_gigabyte_hours_at_zero() -> None:
    ten_gb_for_a_window = 10 * GB_HOUR_BYTE_US // 4
    assert amounts(rated([copied("storage_gb", 0, ten_gb_for_a_window)]))[2] == "storage_gb 2.500000000000 0.00"


def test_no_usage_gives_a_line_at_zero_for_every_metric() -> None:
    rating = rated([])
    assert [(line.tariff.metric, line.base_quantity, line.amount.amount) for line in rating.lines] == [
        (metric, Decimal(0), Decimal("0.00")) for metric in METRICS
    ]


def test_each_window_is_rated_by_the_version_in_force_at_its_start() -> None:
    copies = [copied("gql_calls", 9, 1_000_000), copied("gql_calls", 10, 1_000_000)]
    plans = history([version(), version("pro", gql="5")], ("starter", 1, at(0)), ("pro", 1, at(10)))
    lines = [line for line in rated(copies, plans).lines if line.tariff.metric == "gql_calls"]
    assert [(line.plan.plan_id, line.amount.amount) for line in lines] == [
        ("starter", Decimal("2.00")),
        ("pro", Decimal("5.00")),
    ]


def test_going_back_to_an_earlier_version_adds_to_its_line() -> None:
    copies = [copied("gql_calls", window, 1) for window in (0, 10, 20)]
    plans = history([version(), version("pro")], ("starter", 1, at(0)), ("pro", 1, at(10)), ("starter", 1, at(20)))
    lines = [line for line in rated(copies, plans).lines if line.tariff.metric == "gql_calls"]
    assert [(line.plan.plan_id, line.base_quantity) for line in lines] == [("starter", Decimal(2)), ("pro", Decimal(1))]


def test_an_amount_is_rounded_once_per_line_and_half_a_cent_goes_up() -> None:
    line = rated([copied("ingest_events", 0, 50)]).lines[1]
    assert (line.exact.amount, line.amount.amount) == (Decimal("0.005"), Decimal("0.01"))


def test_the_total_is_what_a_reader_gets_from_adding_the_lines() -> None:
    copies = [copied("gql_calls", 0, 2_500), copied("ingest_events", 0, 50)]
    assert rated(copies).total.amount == Decimal("0.02")


def test_a_price_that_is_zero_makes_a_line_at_zero() -> None:
    plans = history([version(gql="0")], ("starter", 1, at(0)))
    assert rated([copied("gql_calls", 0, 10**12)], plans).lines[0].amount.amount == 0


def test_two_currencies_in_one_period_are_refused() -> None:
    euro = version("pro")
    plans = history([version(), type(euro)("pro", 1, "EUR", euro.prices)], ("starter", 1, at(0)), ("pro", 1, at(10)))
    with pytest.raises(MixedCurrencies, match="EUR and USD"):
        rated([copied("gql_calls", 11, 1)], plans)


def test_a_currency_without_minor_units_is_rounded_to_whole_units() -> None:
    yen = version(gql="300")
    plans = history([type(yen)("starter", 1, "JPY", yen.prices)], ("starter", 1, at(0)))
    assert str(rated([copied("gql_calls", 0, 5_000)], plans).lines[0].amount.amount) == "2"


def test_numbers_past_what_a_float_holds_are_exact() -> None:
    line = rated([copied("gql_calls", 0, 2**53 + 1), copied("gql_calls", 1, 10**30)]).lines[0]
    assert line.exact.amount == Decimal("2000000000000018014398509.481986")


def test_a_million_times_a_tenth_is_a_hundred_thousand() -> None:
    plans = history([version(ingest="0.1")], ("starter", 1, at(0)))
    assert rated([copied("ingest_events", 0, 1_000_000_000)], plans).lines[1].exact.amount == 100_000


def test_the_explanation_holds_every_number_of_the_calculation() -> None:
    line = rated([copied("gql_calls", 0, 1_234_567)]).lines[0]
    assert line.explanation == (
        "starter version 1, 1 windows: 1234567 call / 1000000 * 2 USD = 2.469134 USD, rounded half up to 2.47 USD"
    )


@pytest.mark.parametrize(
    ("byte_us", "expected"),
    [
        (0, "0E-12"),
        (GB_HOUR_BYTE_US, "1.000000000000"),
        (1_800_000, "0E-12"),  # half a step, to even: down
        (1_800_001, "1E-12"),
        (5_400_000, "2E-12"),  # one and a half steps, to even: up
        (9_000_000, "2E-12"),  # two and a half, to even: down
    ],
)
def test_byte_microseconds_become_gigabyte_hours_with_halves_to_even(byte_us: int, expected: str) -> None:
    assert str(gb_hours(Decimal(byte_us))) == expected


@given(st.integers(0, 10**38 - 1))
def test_the_conversion_is_the_exact_quotient_rounded_half_even_to_twelve_decimals(byte_us: int) -> None:
    exact = Fraction(byte_us, GB_HOUR_BYTE_US)
    steps = round(exact * 10**12)  # Fraction rounds halves to even
    assert Fraction(gb_hours(Decimal(byte_us))) == Fraction(steps, 10**12)


@given(WINDOWS, CHANGES)
def test_lines_of_a_metric_add_up_to_its_usage_to_the_unit_however_often_the_plan_changes(
    copies: list[WindowCopy], changes: list[int]
) -> None:
    rating = rated(copies, changing_at(changes))
    billed = {name: sum(line.base_quantity for line in rating.lines if line.tariff.metric == name) for name in METRICS}
    assert billed == {name: sum(copy.value for copy in copies if copy.metric == name) for name in METRICS}


@given(WINDOWS, CHANGES)
def test_the_total_is_the_sum_of_lines_each_within_half_a_cent_of_exact(
    copies: list[WindowCopy], changes: list[int]
) -> None:
    rating = rated(copies, changing_at(changes))
    assert rating.total.amount == sum(line.amount.amount for line in rating.lines)
    assert all(
        abs(Fraction(line.amount.amount) - Fraction(line.exact.amount)) <= Fraction(1, 200) for line in rating.lines
    )


@given(WINDOWS, CHANGES)
def test_exact_amounts_are_quantity_times_price(copies: list[WindowCopy], changes: list[int]) -> None:
    rating = rated(copies, changing_at(changes))
    assert all(
        Fraction(line.exact.amount) == Fraction(line.quantity) * Fraction(line.unit_price) / line.tariff.price_per
        for line in rating.lines
    )


@given(WINDOWS.flatmap(lambda copies: st.tuples(st.just(copies), st.permutations(copies))), CHANGES)
def test_the_order_in_which_windows_came_does_not_matter(
    orders: tuple[list[WindowCopy], list[WindowCopy]], changes: list[int]
) -> None:
    plans = changing_at(changes)
    assert rated(orders[0], plans) == rated(orders[1], plans)


@given(WINDOWS, CHANGES)
def test_every_metric_has_a_line_and_no_plan_version_has_two(copies: list[WindowCopy], changes: list[int]) -> None:
    keys = [(line.tariff.metric, line.plan.key) for line in rated(copies, changing_at(changes)).lines]
    assert len(keys) == len(set(keys))
    assert {metric for metric, _ in keys} == set(METRICS)


def test_limits_of_a_plan_are_no_business_of_its_price() -> None:
    assert version() == type(version())("starter", 1, "USD", plan_changed().price_map)
