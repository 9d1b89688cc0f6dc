"""A part that dies is started again later and later, and not for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploy.local.restarts import Death, RestartPolicy

POLICY = RestartPolicy(
    first_delay_s=0.5, longest_delay_s=3.0, window_s=60.0, deaths_before_ready=3, deaths_after_ready=6
)


def deaths(*were_ready: bool) -> list[Death]:
    return [Death(float(at), was_ready) for at, was_ready in enumerate(were_ready)]


def test_the_delay_doubles_up_to_its_bound() -> None:
    delays = [POLICY.delay(deaths(*[True] * count)) for count in (1, 2, 3, 4, 5)]

    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_part_that_was_ready_each_time_is_given_up_after_six_deaths() -> None:
    assert POLICY.delay(deaths(*[True] * 6)) is None


def test_a_part_that_never_answered_is_given_up_after_three() -> None:
    assert POLICY.delay(deaths(False, False)) is not None
    assert POLICY.delay(deaths(False, False, False)) is None


def test_a_part_that_answered_three_times_and_is_killed_once_while_it_starts_is_not_given_up() -> None:
    assert POLICY.delay(deaths(True, True, True, False)) == POLICY.longest_delay_s


def test_a_part_that_answered_and_then_does_not_come_up_three_times_is_given_up() -> None:
    assert POLICY.delay(deaths(True, False, False, False)) is None


def test_deaths_older_than_the_window_do_not_count() -> None:
    died = [Death(at, was_ready=False) for at in (0.0, 39.9, 40.1, 99.0)]

    assert POLICY.recent(died, now=100.0) == died[2:]


@given(st.lists(st.booleans(), min_size=1))
def test_no_delay_exceeds_the_bound(were_ready: list[bool]) -> None:
    delay = POLICY.delay(deaths(*were_ready))

    assert delay is None or 0 < delay <= POLICY.longest_delay_s
