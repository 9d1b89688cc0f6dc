"""A suite that passes on a broken build proves nothing: on these it has to fail; `make chaos-sabotage` does more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.chaos.sabotage import sabotaged
from tests.support.interleavings import is_exact, live_through, steps_of

SEEDS = range(25)


@pytest.fixture
def dsn(fresh_database: Callable[..., str]) -> str:
    return fresh_database("sabotaged")


def first_failure(dsn: str) -> int | None:
    """Return the first seed after whose steps an effect is missing, doubled or out of order."""
    return next((seed for seed in SEEDS if not is_exact(asyncio.run(live_through(steps_of(seed), dsn)))), None)


def test_the_build_as_it_is_passes_every_seed(dsn: str) -> None:
    assert first_failure(dsn) is None


@pytest.mark.parametrize(
    "name",
    ["compare-and-set-removed", "sequences-unchecked", "stale-owner-keeps-memory", "offset-before-effect"],
)
def test_a_sabotaged_bus_fails_within_these_seeds(name: str, dsn: str) -> None:
    with sabotaged(name):
        assert first_failure(dsn) is not None
