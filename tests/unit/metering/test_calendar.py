from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.schemas.values import Period, window_of
from services.metering.domain.calendar import Bucket, WindowSize, buckets, length_of, sliding
from services.metering.errors import BadQuery

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def found(size: WindowSize, zone: str, start: str, end: str) -> list[Bucket]:
    return list(buckets(size, zone, at(start), at(end)))


def test_a_day_of_a_zone_starts_at_its_midnight() -> None:
    [day] = found("day", "Europe/Berlin", "2026-11-24T10:00Z", "2026-11-24T11:00Z")
    assert day == Bucket(at("2026-11-23T23:00Z"), at("2026-11-24T23:00Z"))


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00Z", 23),
        ("Europe/Berlin", "2026-10-25T12:00Z", 25),
        ("Australia/Lord_Howe", "2026-04-05T00:00Z", 24.5),
        ("Asia/Kathmandu", "2026-03-29T12:00Z", 24),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: str, hours: float) -> None:
    [bucket] = list(buckets("day", zone, at(day), at(day) + timedelta(seconds=1)))
    assert bucket.end - bucket.start == timedelta(hours=hours)


def test_a_month_is_the_period_that_is_billed() -> None:
    month = Period.month("2026-10", "Europe/Berlin")
    [bucket] = found("month", "Europe/Berlin", "2026-10-10T00:00Z", "2026-10-11T00:00Z")
    assert (bucket.start, bucket.end) == (month.starts_at, month.ends_at)


def test_december_is_followed_by_january() -> None:
    [_, january] = found("month", "UTC", "2026-12-31T00:00Z", "2027-01-02T00:00Z")
    assert january == Bucket(at("2027-01-01T00:00Z"), at("2027-02-01T00:00Z"))


def test_hours_of_a_zone_with_an_odd_offset_start_at_its_full_hours() -> None:
    [hour] = found("hour", "Asia/Kathmandu", "2026-11-24T10:20Z", "2026-11-24T10:21Z")
    assert hour == Bucket(at("2026-11-24T10:15Z"), at("2026-11-24T11:15Z"))


def test_quarters_are_the_windows_themselves() -> None:
    quarters = found("15m", "UTC", "2026-11-24T10:07Z", "2026-11-24T10:31Z")
    assert [bucket.start.minute for bucket in quarters] == [0, 15, 30]


def test_an_empty_interval_has_no_windows() -> None:
    assert found("day", "UTC", "2026-11-24T00:00Z", "2026-11-24T00:00Z") == []


@pytest.mark.parametrize("size", ["15m", "hour", "day", "month"])
@pytest.mark.parametrize(("start", "end"), [("0001-01-01T00:00Z", "0001-02-01T00:00Z"), ("9999-12-31T00:00Z",) * 2])
def test_a_year_whose_windows_have_no_end_is_refused(size: WindowSize, start: str, end: str) -> None:
    with pytest.raises(BadQuery, match="years"):
        found(size, "UTC", start, end)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("size", ["15m", "hour", "day", "month"])
def test_the_first_year_has_windows_and_the_last_in_any_zone(size: WindowSize, zone: str) -> None:
    assert found(size, "UTC", "0004-01-01T00:00Z", "0004-01-01T00:01Z")
    assert found(size, zone, "9998-12-31T23:59Z", "9998-12-31T23:59:59Z")


def test_a_zone_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadQuery, match="Mars"):
        found("day", "Mars/Olympus", "2026-11-24T00:00Z", "2026-11-25T00:00Z")


MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


@given(MOMENTS, st.sampled_from(ZONES), st.sampled_from(["15m", "hour", "day", "month"]))
def test_windows_join_without_gap_and_lie_on_the_grain(moment: datetime, zone: str, size: WindowSize) -> None:
    chain = list(buckets(size, zone, moment, moment + timedelta(days=70 if size == "month" else 3)))
    bounds = [bucket.start for bucket in chain] + [chain[-1].end]
    assert chain[0].start <= moment < chain[0].end
    assert [bucket.end for bucket in chain] == bounds[1:]
    assert bounds == sorted(set(bounds))
    assert [window_of(bound) for bound in bounds] == bounds


@pytest.mark.parametrize(
    ("moment", "anchor_day", "starts", "ends"),
    [
        ("2026-11-24T10:00Z", 15, "2026-11-15T00:00Z", "2026-12-15T00:00Z"),
        ("2026-11-14T23:59Z", 15, "2026-10-15T00:00Z", "2026-11-15T00:00Z"),
        ("2026-02-10T00:00Z", 31, "2026-01-31T00:00Z", "2026-02-28T00:00Z"),
        ("2028-02-29T00:00Z", 31, "2028-02-29T00:00Z", "2028-03-31T00:00Z"),
        ("2026-03-30T12:00Z", 30, "2026-03-30T00:00Z", "2026-04-30T00:00Z"),
        ("2027-01-05T00:00Z", 29, "2026-12-29T00:00Z", "2027-01-29T00:00Z"),
    ],
)
def test_a_month_begins_on_its_anchor_day_or_on_its_last(moment: str, anchor_day: int, starts: str, ends: str) -> None:
    [month] = buckets("month", "UTC", at(moment), at(moment) + timedelta(seconds=1), anchor_day=anchor_day)
    assert month == Bucket(at(starts), at(ends))


@given(MOMENTS, st.integers(1, 31), st.sampled_from(ZONES))
def test_anchored_months_follow_each_other_without_a_gap_and_one_holds_each_moment(
    moment: datetime, anchor_day: int, zone: str
) -> None:
    months = list(buckets("month", zone, moment, moment + timedelta(days=400), anchor_day=anchor_day))
    assert months[0].start <= moment < months[0].end
    assert [one.end for one in months[:-1]] == [one.start for one in months[1:]]
    assert all(timedelta(days=27) < one.end - one.start < timedelta(days=33) for one in months)


def test_only_months_have_an_anchor_day() -> None:
    with pytest.raises(BadQuery, match="window=month"):
        list(buckets("day", "UTC", at("2026-11-24T10:00Z"), at("2026-11-25T10:00Z"), anchor_day=5))


def test_a_sliding_range_ends_with_its_step() -> None:
    step = Bucket(at("2026-11-24T10:00Z"), at("2026-11-24T11:00Z"))
    assert sliding(step, length_of("24h")) == Bucket(at("2026-11-23T11:00Z"), at("2026-11-24T11:00Z"))


@pytest.mark.parametrize(("text", "minutes"), [("15m", 15), ("90m", 90), ("24h", 1440), ("400d", 576_000)])
def test_the_length_of_a_sliding_range_is_read(text: str, minutes: int) -> None:
    assert length_of(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "0h", "20m", "401d", "-1h", "1.5h", "99999d", "1w", "1h ", "h", "\u0661h"])
def test_another_length_is_refused_with_the_bounds(text: str) -> None:
    with pytest.raises(BadQuery, match="15m to 400d in whole quarter hours"):
        length_of(text)


def test_a_month_is_not_left_out_where_the_zone_skipped_its_first_day() -> None:
    kiritimati = at("1994-11-30T12:00Z")  # it had no 31 December 1994
    months = buckets("month", "Pacific/Kiritimati", kiritimati, at("1995-03-01T00:00Z"), anchor_day=31)
    starts = [one.start for one in months]
    assert starts == [
        at("1994-11-30T10:00Z"),
        at("1994-12-31T10:00Z"),
        at("1995-01-30T10:00Z"),
        at("1995-02-27T10:00Z"),
    ]


def test_a_bound_within_a_quarter_hour_is_refused() -> None:
    with pytest.raises(BadQuery, match=r"Africa/Monrovia has a day from 1971-04-.*, which is on no quarter of an hour"):
        found("day", "Africa/Monrovia", "1971-04-01T12:00Z", "1971-04-02T12:00Z")
