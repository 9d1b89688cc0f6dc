from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples.hello_tenant.months import month_start, next_month_start, wait_for_room


@pytest.mark.parametrize(
    ("now", "wait"),
    [
        (datetime(2026, 11, 24, 12, tzinfo=UTC), timedelta(0)),
        (datetime(2026, 11, 1, 0, 0, 5, tzinfo=UTC), timedelta(seconds=10)),
        (datetime(2026, 11, 30, 23, 59, tzinfo=UTC), timedelta(seconds=75)),
        (datetime(2026, 12, 31, 23, 55, tzinfo=UTC), timedelta(seconds=315)),
    ],
    ids=["within", "just begun", "about to end", "at the end of the year"],
)
def test_a_demo_waits_only_where_its_month_would_not_hold_it(now: datetime, wait: timedelta) -> None:
    assert wait_for_room(now) == wait


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - made aware
def test_after_the_wait_there_is_room(now: datetime) -> None:
    assert wait_for_room(now + wait_for_room(now)) == timedelta(0)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - made aware
def test_a_month_holds_every_instant_of_its_own(now: datetime) -> None:
    assert month_start(now) <= now < next_month_start(now)
