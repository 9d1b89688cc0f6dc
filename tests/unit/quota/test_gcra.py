"""The limiter's arithmetic: nothing over the bound, nothing refused that fits, and waits that are long enough."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.quota.domain.gcra import MAX_PER_S, UNITS_PER_TOKEN, Level, Rate, Verdict, decide

START_US = 1_790_000_000_000_000
RATES = st.builds(Rate, per_s=st.integers(1, 5_000), burst=st.integers(1, 5_000))
GAPS_US = st.lists(st.one_of(st.integers(0, 2_000), st.integers(0, 3_000_000)), min_size=1, max_size=60)
COST_SHARES = st.lists(st.floats(0.0, 1.0), min_size=60, max_size=60)

Request = tuple[int, int]  # at, in microseconds, and cost
Outcome = tuple[int, int, Verdict]


def requests_of(rate: Rate, gaps_us: Sequence[int], shares: Sequence[float]) -> list[Request]:
    times = accumulate(gaps_us, initial=START_US)
    return [(at, 1 + int(share * (rate.burst - 1))) for at, share in zip(times, shares, strict=False)]


def run(rate: Rate, requests: Sequence[Request]) -> list[Outcome]:
    level: Level | None = None
    outcomes: list[Outcome] = []
    for at, cost in requests:
        level, verdict = decide(level, rate, cost, at)
        outcomes.append((at, cost, verdict))
    return outcomes


def excess(rate: Rate, outcomes: Sequence[Outcome]) -> int:
    """The most by which any interval went over `burst + rate * T`, in millionths of a token; 0 or less is none."""
    admitted = [(at, cost) for at, cost, verdict in outcomes if verdict.allowed]
    return max(
        (
            sum(cost for _, cost in admitted[first : last + 1]) * UNITS_PER_TOKEN
            - rate.burst * UNITS_PER_TOKEN
            - (admitted[last][0] - admitted[first][0]) * rate.per_s
            for first in range(len(admitted))
            for last in range(first, len(admitted))
        ),
        default=0,
    )


def level_after(rate: Rate, requests: Sequence[Request]) -> Level:
    level: Level | None = None
    for at, cost in requests:
        level, _ = decide(level, rate, cost, at)
    assert level is not None
    return level


def a_full_bucket(rate: Rate) -> Level:
    return decide(None, rate, rate.burst, START_US)[0]


@given(RATES, GAPS_US, COST_SHARES)
def test_no_interval_admits_more_than_the_burst_and_what_the_rate_gives(
    rate: Rate, gaps_us: list[int], shares: list[float]
) -> None:
    outcomes = run(rate, requests_of(rate, gaps_us, shares))

    assert excess(rate, outcomes) <= 0


@given(RATES, GAPS_US, COST_SHARES)
def test_a_retry_exactly_when_told_is_admitted_and_one_microsecond_earlier_is_not(
    rate: Rate, gaps_us: list[int], shares: list[float]
) -> None:
    requests = requests_of(rate, gaps_us, shares)
    level = level_after(rate, requests)
    at, cost = requests[-1][0], rate.burst
    _, now = decide(level, rate, cost, at)

    _, in_time = decide(level, rate, cost, at + now.retry_after_us)
    _, early = decide(level, rate, cost, at + max(0, now.retry_after_us - 1))

    assert in_time.allowed
    assert early.allowed == now.allowed


@given(RATES, GAPS_US, COST_SHARES)
def test_what_is_said_to_remain_can_be_had_at_once_and_one_more_cannot(
    rate: Rate, gaps_us: list[int], shares: list[float]
) -> None:
    requests = requests_of(rate, gaps_us, shares)
    level = level_after(rate, requests)
    at, _, last = run(rate, requests)[-1]
    assume(0 < last.remaining < rate.burst)

    _, exactly = decide(level, rate, last.remaining, at)
    _, one_more = decide(level, rate, last.remaining + 1, at)

    assert exactly.allowed
    assert not one_more.allowed


@given(RATES, GAPS_US, COST_SHARES)
def test_after_the_reset_the_whole_burst_can_be_had(rate: Rate, gaps_us: list[int], shares: list[float]) -> None:
    requests = requests_of(rate, gaps_us, shares)
    at, _, verdict = run(rate, requests)[-1]

    _, later = decide(level_after(rate, requests), rate, rate.burst, at + verdict.reset_us)

    assert later.allowed
    assert later.remaining == 0


@pytest.mark.parametrize("per_s", [1, 3, 7, 50, 333, 4_999, MAX_PER_S])
def test_the_burst_is_admitted_to_the_last_token_and_not_beyond(per_s: int) -> None:
    rate = Rate.with_one_second_of_burst(per_s)
    full = a_full_bucket(rate)

    _, one_more = decide(full, rate, 1, START_US)

    assert not one_more.allowed
    assert one_more.remaining == 0


def test_fifty_a_second_gives_a_token_back_every_twenty_milliseconds() -> None:
    rate = Rate.with_one_second_of_burst(50)

    _, verdict = decide(a_full_bucket(rate), rate, 1, START_US)

    assert verdict == Verdict(allowed=False, remaining=0, retry_after_us=20_000, reset_us=1_000_000)


def test_a_refused_request_leaves_the_debt_as_it_was() -> None:
    rate = Rate.with_one_second_of_burst(50)
    full = a_full_bucket(rate)

    after, _ = decide(full, rate, 1, START_US)

    assert after == full


def test_a_clock_that_steps_back_neither_drains_nor_stalls() -> None:
    rate = Rate.with_one_second_of_burst(50)
    hour_us = 3_600_000_000

    stepped, refused = decide(a_full_bucket(rate), rate, 1, START_US - hour_us)
    _, later = decide(stepped, rate, 1, START_US - hour_us + refused.retry_after_us)

    assert not refused.allowed
    assert later.allowed


def test_after_a_move_to_a_smaller_plan_one_token_is_back_within_its_own_rate() -> None:
    debt = a_full_bucket(Rate.with_one_second_of_burst(200))

    _, verdict = decide(debt, Rate.with_one_second_of_burst(50), 1, START_US)

    assert verdict.retry_after_us == 20_000


def test_after_a_move_to_a_larger_plan_the_difference_can_be_had_at_once() -> None:
    debt = a_full_bucket(Rate.with_one_second_of_burst(50))

    _, verdict = decide(debt, Rate.with_one_second_of_burst(200), 150, START_US)

    assert verdict.allowed
    assert verdict.remaining == 0


@pytest.mark.parametrize("cost", [0, -1, 51])
def test_a_cost_that_can_never_pass_is_no_question(cost: int) -> None:
    with pytest.raises(ValueError, match="a cost is 1 to the burst"):
        decide(None, Rate.with_one_second_of_burst(50), cost, START_US)


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (1, 0), (MAX_PER_S + 1, 1), (1, MAX_PER_S + 1)])
def test_a_rate_outside_the_exact_range_is_refused(per_s: int, burst: int) -> None:
    with pytest.raises(ValueError, match="a rate and its burst"):
        Rate(per_s, burst)
