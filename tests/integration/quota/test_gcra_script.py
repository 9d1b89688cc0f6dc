"""The script in the store is the model in the domain, number by number; only its clock is replaced here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from services.quota.domain.gcra import MAX_PER_S, Level, Rate, Verdict, decide
from services.quota.store.limiter import SCRIPT

KEY = "{model}:qps"
START_US = 1_790_000_000_000_000

# Shadows `redis` for the script that follows: the time is what the test says, and keys outlive it.
TOLD_TIME = """
local store = redis
local redis = {error_reply = store.error_reply}
function redis.call(name, ...)
  if name == 'TIME' then return {ARGV[4], ARGV[5]} end
  if name == 'SET' then
    local key, value, _, lifetime_ms = ...
    store.call('SET', key .. ':lifetime_ms', lifetime_ms)
    return store.call('SET', key, value)
  end
  return store.call(name, ...)
end
"""

RATES = st.one_of(
    st.builds(Rate, per_s=st.integers(1, 5_000), burst=st.integers(1, 5_000)),
    st.integers(1, MAX_PER_S).map(Rate.with_one_second_of_burst),
    st.just(Rate(MAX_PER_S, MAX_PER_S)),
)
STEPS = st.lists(
    st.tuples(
        RATES,
        st.floats(0.0, 1.0),
        st.one_of(st.integers(0, 2_000), st.integers(0, 2_000_000), st.integers(-3_600_000_000, 10**12)),
    ),
    min_size=1,
    max_size=12,
)


@dataclass
class ToldScript:
    """The script, at times that the test tells."""

    client: Redis

    def forget(self) -> None:
        self.client.delete(KEY, f"{KEY}:lifetime_ms")

    def ask(self, rate: Rate, cost: int, now_us: int) -> Verdict:
        seconds, rest = divmod(now_us, 1_000_000)
        answer = self.client.eval(TOLD_TIME + SCRIPT, 1, KEY, rate.per_s, rate.burst, cost, seconds, rest)
        assert isinstance(answer, list)
        return Verdict(bool(answer[0]), *answer[1:])

    def lifetime_ms(self) -> int:
        return int(str(self.client.get(f"{KEY}:lifetime_ms")))


@pytest.fixture
def script(valkey_client: Redis) -> ToldScript:
    return ToldScript(valkey_client)


def both(script: ToldScript, steps: Sequence[tuple[Rate, float, int]]) -> list[tuple[Verdict, Verdict]]:
    """The verdicts of the model and of the script, step by step, on one bucket whose plan may change at each."""
    script.forget()
    level: Level | None = None
    now_us = START_US
    pairs: list[tuple[Verdict, Verdict]] = []
    for rate, share, gap_us in steps:
        now_us += gap_us
        cost = 1 + int(share * (rate.burst - 1))
        level, expected = decide(level, rate, cost, now_us)
        pairs.append((expected, script.ask(rate, cost, now_us)))
    return pairs


@given(steps=STEPS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_and_the_model_agree_on_every_number(
    script: ToldScript, steps: list[tuple[Rate, float, int]]
) -> None:
    pairs = both(script, steps)

    assert [actual for _, actual in pairs] == [expected for expected, _ in pairs]


@given(rate=RATES, share=st.floats(0.0, 1.0), later_us=st.integers(0, 999_999))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_retry_exactly_when_told_is_admitted(script: ToldScript, rate: Rate, share: float, later_us: int) -> None:
    script.forget()
    cost = 1 + int(share * (rate.burst - 1))
    script.ask(rate, rate.burst, START_US)

    told = script.ask(rate, cost, START_US + later_us)
    early = script.ask(rate, cost, START_US + later_us + max(0, told.retry_after_us - 1)) if not told.allowed else None
    in_time = script.ask(rate, cost, START_US + later_us + told.retry_after_us) if not told.allowed else None

    assert early is None or not early.allowed
    assert in_time is None or in_time.allowed


@given(rate=RATES, share=st.floats(0.0, 1.0))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_key_lives_until_its_debt_has_drained_and_a_millisecond_more_at_most(
    script: ToldScript, rate: Rate, share: float
) -> None:
    script.forget()

    verdict = script.ask(rate, 1 + int(share * (rate.burst - 1)), START_US)

    assert verdict.reset_us < script.lifetime_ms() * 1_000 <= verdict.reset_us + 1_000


def test_a_clock_that_steps_back_is_followed_at_once(script: ToldScript) -> None:
    script.forget()
    rate, hour_us = Rate.with_one_second_of_burst(50), 3_600_000_000
    script.ask(rate, 50, START_US)

    refused = script.ask(rate, 1, START_US - hour_us)
    later = script.ask(rate, 1, START_US - hour_us + refused.retry_after_us)

    assert not refused.allowed
    assert later.allowed
