"""What became of the events of a request that prefers to wait."""

from __future__ import annotations

import pytest

from services.metering.domain.outcomes import MAX_WAIT_S, Outcome, outcomes, preferred_wait_s
from tests.support.metering import usage

FIRST, SAME, OTHER = usage("1", ingest_events=1), usage("1", ingest_events=1), usage("1", ingest_events=2)
SECOND = usage("2", ingest_events=1)


def test_the_first_of_an_id_counts_and_what_follows_it_in_the_request_does_not() -> None:
    found = outcomes([FIRST, SAME, OTHER], {}, {FIRST.key: FIRST.digest})
    assert found == [Outcome.COUNTED, Outcome.DUPLICATE, Outcome.CONFLICT]


def test_what_stood_before_the_request_makes_a_copy_or_a_conflict() -> None:
    stood = {FIRST.key: FIRST.digest}
    assert outcomes([SAME, OTHER], stood, {}) == [Outcome.DUPLICATE, Outcome.CONFLICT]


def test_what_another_brought_at_the_same_moment_with_another_body_is_a_conflict() -> None:
    assert outcomes([FIRST], {}, {FIRST.key: OTHER.digest}) == [Outcome.CONFLICT]


def test_what_does_not_stand_when_the_time_is_up_is_pending() -> None:
    assert outcomes([FIRST, SECOND], {}, {SECOND.key: SECOND.digest}) == [Outcome.PENDING, Outcome.COUNTED]


@pytest.mark.parametrize(
    ("preferences", "wait_s"),
    [
        (["wait=2"], 2),
        (["respond-async, wait=5"], 5),
        (["respond-async", 'Wait = "3"; x=1'], 3),
        (["wait=1, wait=9"], 1),
        (["wait=3600"], MAX_WAIT_S),
        (["wait=0"], 0),
        ([], None),
        (["wait"], None),
        (["wait=soon", "awaiting=2"], None),
        (["wait=-1"], None),
    ],
)
def test_a_preference_is_read_as_it_is_written_and_bounded(preferences: list[str], wait_s: int | None) -> None:
    assert preferred_wait_s(preferences) == wait_s
