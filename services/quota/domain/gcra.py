"""GCRA, the generic cell rate algorithm, with weighted costs and in whole numbers only.

Source: ITU-T I.371, annex A, in its second form, the continuous-state leaky bucket (equal to the first, virtual
scheduling, for every sequence of arrivals). A debt grows by the cost of what is admitted and drains at the rate; what
would lift it above the burst is refused. The debt counts millionths of a token, so that one microsecond drains exactly
`per_s` of them: no rate is rounded, and neither is a decision. `services/quota/store/gcra.lua` is the same arithmetic
inside the store; a property test holds the two together.

In any half-open interval of length T at most `burst + per_s * T` tokens are admitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNITS_PER_TOKEN: Final = 1_000_000
MAX_PER_S: Final = 1_000_000_000  # keeps every number of the script below 2^53, where its doubles are exact


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` tokens a second, and at most `burst` tokens at one instant. Whole numbers, 1 to MAX_PER_S."""

    per_s: int
    burst: int

    def __post_init__(self) -> None:
        """Refuse what no bucket can have."""
        if not (1 <= self.per_s <= MAX_PER_S and 1 <= self.burst <= MAX_PER_S):
            raise ValueError(f"a rate and its burst are 1 to {MAX_PER_S}")

    @classmethod
    def with_one_second_of_burst(cls, per_s: int) -> Rate:
        """Return the rate whose burst is what it gives in one second: the burst of every plan."""
        return cls(per_s, per_s)


@dataclass(frozen=True, slots=True)
class Level:
    """How full a bucket is: `debt` in millionths of a token, as of `at_us` (microseconds of the store's clock)."""

    debt: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the bucket says.

    `remaining` is whole tokens left now, rounded down. A retry of the same cost `retry_after_us` from now passes, if
    nothing else was admitted in between; it is 0 where `allowed`. After `reset_us` without use the bucket is whole.
    """

    allowed: bool
    remaining: int
    retry_after_us: int
    reset_us: int


def decide(level: Level | None, rate: Rate, cost: int, now_us: int) -> tuple[Level, Verdict]:
    """Return the level after a request of `cost` tokens (1 to `rate.burst`) at `now_us`, and the verdict on it.

    `level` is None for a bucket that was never used, or not since it last became whole; a refusal leaves it as it is,
    so that it costs no write. A clock that steps back drains nothing and is followed at once, so that a step costs its
    own length once and never stalls a tenant. Where the rate was lowered since, the debt is cut to the new burst: what
    was admitted before is not paid for twice.
    """
    if not 1 <= cost <= rate.burst:
        raise ValueError(f"a cost is 1 to the burst of {rate.burst}, not {cost}")
    capacity, asked = rate.burst * UNITS_PER_TOKEN, cost * UNITS_PER_TOKEN
    debt = _drained(level, rate, capacity, now_us)
    missing = max(0, debt + asked - capacity)
    allowed = missing == 0
    left = debt + asked if allowed else debt
    verdict = Verdict(
        allowed=allowed,
        remaining=(capacity - left) // UNITS_PER_TOKEN,
        retry_after_us=ceil_div(missing, rate.per_s),
        reset_us=ceil_div(left, rate.per_s),
    )
    if level is not None and not allowed and level.at_us <= now_us:
        return level, verdict
    return Level(left, now_us), verdict


def ceil_div(amount: int, by: int) -> int:
    """Return `amount / by` rounded up: times to wait never round down."""
    return -(-amount // by)


def _drained(level: Level | None, rate: Rate, capacity: int, now_us: int) -> int:
    if level is None:
        return 0
    elapsed_us = max(0, now_us - level.at_us)
    return min(capacity, max(0, level.debt - elapsed_us * rate.per_s))
