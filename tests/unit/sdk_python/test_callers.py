"""Whom an edge still knows when the quota service is away."""

from __future__ import annotations

from functools import reduce

from maestro_sdk.callers import CALLERS_KEPT, KNOWN_FOR_S, RecentCallers
from tests.support.sdk import TENANT, PatientClock


def remembering(count: int) -> RecentCallers:
    def remember(callers: RecentCallers, number: int) -> RecentCallers:
        callers.remember(f"key-{number}", TENANT)
        return callers

    return reduce(remember, range(count), RecentCallers(PatientClock()))


async def test_a_key_is_known_until_its_time_is_over() -> None:
    clock = PatientClock()
    callers = RecentCallers(clock)
    callers.remember("key", TENANT)

    await clock.sleep(KNOWN_FOR_S - 1)
    just_before = callers.tenant_of("key")
    await clock.sleep(1)

    assert (just_before, callers.tenant_of("key")) == (TENANT, None)


def test_the_longest_unseen_gives_way_when_there_are_too_many() -> None:
    callers = remembering(CALLERS_KEPT + 1)

    assert callers.tenant_of("key-0") is None
    assert callers.tenant_of(f"key-{CALLERS_KEPT}") == TENANT


def test_a_key_that_was_never_seen_is_nobodys() -> None:
    assert remembering(1).tenant_of("key-7") is None
