"""Pauses between tries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro_sdk.backoff import Backoff, asked_pause_s
from tests.support.sdk import NOON


@given(st.integers(0, 10_000), st.floats(0, 3_600), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_at_least_what_was_asked_and_at_most_the_longest_more(
    attempt: int, asked_s: float, chance: float
) -> None:
    pause_s = Backoff(longest_s=10.0, chance=lambda: chance).pause_s(attempt, asked_s)

    assert asked_s <= pause_s <= asked_s + 10.0


@pytest.mark.parametrize(("attempt", "ceiling_s"), [(0, 0.1), (1, 0.2), (6, 6.4), (7, 10.0), (100, 10.0)])
def test_the_ceiling_doubles_up_to_the_longest(attempt: int, ceiling_s: float) -> None:
    assert Backoff(chance=lambda: 1.0).pause_s(attempt, 0.0) == pytest.approx(ceiling_s)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_read_as_a_number_or_a_date(text: str, seconds: float) -> None:
    assert asked_pause_s({"retry-after": text}, NOON) == seconds
