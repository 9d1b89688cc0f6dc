from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.schemas import values
from libs.schemas.values import BadNumber, BadPeriod, Money, Period
from libs.schemas.zones import zone

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
quantities = st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**18), max_value=10**18)
months = st.tuples(st.integers(1980, 2035), st.integers(1, 12)).map(lambda pair: f"{pair[0]}-{pair[1]:02}")
zone_names = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Beirut", "Africa/Cairo"]
)


@pytest.mark.parametrize("text", ["9007199254740993", "0.1", "1e-12", "-12.50", "1E3", "+7"])
def test_a_decimal_text_is_taken_exactly(text: str) -> None:
    assert values.decimal_of(text) == Decimal(text)


@pytest.mark.parametrize(
    "value", ["NaN", "inf", "1_000", " 1", "\u0661", "", "0x1", "1e999", "9" * 39, "1e-19", 0.1, True, None, []]
)
def test_what_is_not_an_exact_number_is_refused(value: object) -> None:
    with pytest.raises(BadNumber):
        values.decimal_of(value)


@given(quantities)
def test_the_plain_text_of_a_quantity_reads_back_as_the_same_number(number: Decimal) -> None:
    text = values.plain(number)
    assert Decimal(text) == number
    assert "E" not in text


@given(quantities, quantities)
def test_equal_quantities_have_one_text(a: Decimal, b: Decimal) -> None:
    assert (values.plain(a) == values.plain(b)) == (a == b)


def test_a_million_times_a_tenth_is_a_hundred_thousand() -> None:
    total = Decimal(0)
    for _ in range(1_000_000):
        total = values.EXACT.add(total, Decimal("0.1"))
    assert total == 100_000


def test_a_sum_that_would_lose_a_digit_raises_instead() -> None:
    with pytest.raises(Inexact):
        values.EXACT.add(Decimal("1e50"), Decimal("1e-50"))


@given(moments)
def test_microseconds_and_back_is_the_same_instant(moment: datetime) -> None:
    assert values.from_microseconds(values.microseconds(moment)) == moment


@given(moments)
def test_a_window_starts_on_a_quarter_and_holds_its_moment(moment: datetime) -> None:
    start = values.window_of(moment)
    assert start <= moment < start + values.GRAIN
    assert (start.minute % 15, start.second, start.microsecond) == (0, 0, 0)


@given(months, zone_names)
def test_months_of_a_zone_touch_without_gap_or_overlap(name: str, zone_name: str) -> None:
    period = Period.month(name, zone_name)
    following = Period.month(period.ends_at.astimezone(zone(zone_name)).strftime("%Y-%m"), zone_name)
    assert following.starts_at == period.ends_at
    assert period.ends_at - period.starts_at >= timedelta(days=27, hours=23)


@given(months, zone_names)
def test_every_month_is_a_whole_number_of_windows(name: str, zone_name: str) -> None:
    period = Period.month(name, zone_name)
    assert values.window_of(period.starts_at) == period.starts_at
    assert values.window_of(period.ends_at) == period.ends_at


def test_a_berlin_month_with_the_clock_put_back_is_an_hour_longer() -> None:
    october = Period.month("2026-10", "Europe/Berlin")
    assert october.ends_at - october.starts_at == timedelta(days=31, hours=1)
    assert (str(october.first_day), str(october.last_day_exclusive)) == ("2026-10-01", "2026-11-01")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_outside_the_years_of_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        values.aware(datetime.fromisoformat(text))


@pytest.mark.parametrize(
    "name", ["2026-13", "2026-1", "26-01", "0000-01", "9999-12", "2026-11-24", "", "\u0662\u0660\u0662\u0666-01"]
)
def test_what_is_not_a_month_is_refused(name: str) -> None:
    with pytest.raises(BadPeriod):
        Period.month(name, "UTC")


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "../etc/passwd", "Europe", "", "/UTC", "Europe/Berlin\x00", "tzdata.zi"]
)
def test_what_the_pinned_rules_do_not_hold_is_no_zone(name: str) -> None:
    with pytest.raises(ValueError, match="not an IANA time zone"):
        zone(name)


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.005", "USD", "0.01"),
        ("0.0049", "USD", "0.00"),
        ("-0.005", "USD", "-0.01"),
        ("0.5", "JPY", "1"),
        ("1.0005", "KWD", "1.001"),
        ("12345678901234567890123456789012345678.785", "USD", "12345678901234567890123456789012345678.79"),
    ],
)
def test_money_rounds_halves_away_from_zero_to_its_minor_unit(amount: str, currency: str, rounded: str) -> None:
    assert str(Money(Decimal(amount), currency).rounded().amount) == rounded


def test_money_of_two_currencies_is_never_added() -> None:
    with pytest.raises(BadNumber, match="cannot add EUR to USD"):
        Money(Decimal(1), "USD") + Money(Decimal(1), "EUR")


def test_money_refuses_a_float() -> None:
    with pytest.raises(BadNumber):
        Money(0.1, "USD")  # type: ignore[arg-type]
