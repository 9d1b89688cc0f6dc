"""A part that dies is started again later and later, and not for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploy.local.restarts import RestartPolicy

POLICY = RestartPolicy(
    first_delay_s=0.5, longest_delay_s=3.0, window_s=60.0, deaths_before_ready=3, deaths_after_ready=6
)


def test_the_delay_doubles_up_to_its_bound() -> None:
    delays = [POLICY.delay(count, was_ready=True) for count in (1, 2, 3, 4, 5)]

    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_part_that_was_ready_is_given_up_after_six_deaths() -> None:
    assert POLICY.delay(6, was_ready=True) is None


def test_a_part_that_never_answered_is_given_up_after_three() -> None:
    assert POLICY.delay(3, was_ready=False) is None


def test_deaths_older_than_the_window_do_not_count() -> None:
    assert POLICY.recent([0.0, 39.9, 40.1, 99.0], now=100.0) == [40.1, 99.0]


@given(count=st.integers(1, 100), was_ready=st.booleans())
def test_no_delay_exceeds_the_bound(count: int, was_ready: bool) -> None:
    delay = POLICY.delay(count, was_ready=was_ready)

    assert delay is None or 0 < delay <= POLICY.longest_delay_s
