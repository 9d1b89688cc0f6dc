"""A store that does not answer is left alone, and found again."""

from __future__ import annotations

from functools import reduce

from services.quota.domain.breaker import FAILURES_TO_OPEN, OPEN_S, Breaker


def failed(times: int, now_s: float = 0.0) -> Breaker:
    return reduce(lambda breaker, _: breaker.after_failure(now_s), range(times), Breaker())


def test_one_failure_less_than_the_bound_still_asks() -> None:
    breaker = failed(FAILURES_TO_OPEN - 1)

    assert breaker.ask(0.0) is not None


def test_an_open_breaker_refuses_without_asking() -> None:
    breaker = failed(FAILURES_TO_OPEN)

    assert breaker.ask(OPEN_S / 2) is None


def test_when_the_pause_is_over_one_caller_asks_and_the_next_does_not() -> None:
    probing = failed(FAILURES_TO_OPEN).ask(OPEN_S)

    assert probing is not None
    assert probing.ask(OPEN_S) is None


def test_a_failed_probe_opens_for_another_pause() -> None:
    breaker = failed(FAILURES_TO_OPEN).after_failure(OPEN_S)

    assert breaker.ask(OPEN_S * 1.5) is None


def test_an_answer_closes_it() -> None:
    breaker = failed(FAILURES_TO_OPEN).after_success()

    assert not breaker.is_open
    assert breaker.ask(0.0) is not None


def test_failures_count_only_in_a_row() -> None:
    breaker = failed(FAILURES_TO_OPEN - 1).after_success().after_failure(0.0)

    assert not breaker.is_open
