"""For every interleaving of repeated publishing, crashes, new owners and zombies: one effect per event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.interleavings import EVENTS, MOST_RECORDS, MOST_STEPS, PARTITIONS, Step, live_through

PUBLISH = st.tuples(st.just("publish"), st.integers(0, PARTITIONS - 1), st.integers(0, EVENTS), st.integers(0, EVENTS))
START = st.tuples(st.just("start_process"), st.integers(0, 3))
RECORDS = st.integers(1, MOST_RECORDS)
WORK = st.tuples(st.just("work"), st.integers(0, 5), RECORDS, st.none() | RECORDS, st.booleans())
STEPS = st.lists(PUBLISH | START | WORK, max_size=MOST_STEPS)


@pytest.fixture
def dsn(fresh_database: Callable[..., str]) -> str:
    """One database for all examples: each has a consumer and a topic id of its own."""
    return fresh_database("any")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_every_event_has_exactly_one_effect_in_order(steps: list[Step], dsn: str) -> None:
    found = asyncio.run(live_through(steps, dsn))

    expected = {partition: [f"p{partition}-{seq}" for seq in range(1, EVENTS + 1)] for partition in range(PARTITIONS)}
    assert {n: [one for one in found if one.startswith(f"p{n}-")] for n in range(PARTITIONS)} == expected
