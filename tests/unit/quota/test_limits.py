"""What a yes and a no say: the problem document of the brief, and the fields of the IETF draft."""

from __future__ import annotations

import pytest

from libs.runtime.problem import problem_of
from services.quota.domain.gcra import Verdict
from services.quota.domain.limits import BYTES_PER_GB, rate_of, rate_standing, storage_standing
from services.quota.errors import CostExceedsBurst, LimitReached
from tests.support.quota_plans import TENANT, plan

ADMITTED = Verdict(allowed=True, remaining=12, retry_after_us=0, reset_us=760_000)
REFUSED = Verdict(allowed=False, remaining=0, retry_after_us=20_000, reset_us=1_000_000)
FULL = 200 * BYTES_PER_GB


def refusal(verdict: Verdict = REFUSED) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        rate_standing(TENANT, "qps", plan(), verdict)
    return caught.value


def test_an_admitted_request_says_what_remains_and_when_the_quota_is_whole() -> None:
    standing = rate_standing(TENANT, "qps", plan(), ADMITTED)

    assert standing.fields == {"ratelimit-policy": '"qps";q=50;w=1', "ratelimit": '"qps";r=12;t=1'}


def test_a_refused_request_gets_the_documents_members_of_the_brief_and_of_the_draft() -> None:
    document = problem_of(refusal())

    assert document == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "The limit of the plan is reached",
        "status": 429,
        "detail": "Starter allows 50 requests a second. Try again in 1 second, or move to a larger plan.",
        "error": "quota_exceeded",
        "retryAfter": 1,
        "retry_after_us": 20_000,
        "violated-policies": ["qps"],
        "allowed": False,
        "tenant": TENANT,
        "limit": "qps",
        "remaining": 0,
        "reset_s": 1,
        "plan": {"id": "starter", "version": 1},
    }


def test_a_refused_request_gets_all_three_fields() -> None:
    assert refusal().headers == {
        "retry-after": "1",
        "ratelimit-policy": '"qps";q=50;w=1',
        "ratelimit": '"qps";r=0;t=1',
    }


@pytest.mark.parametrize(("retry_after_us", "seconds"), [(1, 1), (1_000_000, 1), (1_000_001, 2)])
def test_retry_after_is_whole_seconds_and_never_too_early(retry_after_us: int, seconds: int) -> None:
    verdict = Verdict(allowed=False, remaining=0, retry_after_us=retry_after_us, reset_us=2_000_000)

    assert refusal(verdict).members["retryAfter"] == seconds


def test_a_cost_above_the_burst_is_refused_for_good_and_never_as_a_429() -> None:
    with pytest.raises(CostExceedsBurst) as caught:
        rate_of(plan(), "events_s", 1001)

    assert caught.value.status == 422
    assert problem_of(caught.value)["error"] == "cost_exceeds_burst"


def test_a_cost_of_exactly_the_burst_is_a_question() -> None:
    assert rate_of(plan(), "events_s", 1000).burst == 1000


@pytest.mark.parametrize(("stored", "remaining"), [(0, 200), (FULL - BYTES_PER_GB, 1), (FULL - 1, 0)])
def test_storage_below_the_limit_is_admitted(stored: int, remaining: int) -> None:
    assert storage_standing(TENANT, plan(), stored).remaining == remaining


@pytest.mark.parametrize("stored", [FULL, FULL + 1])
def test_storage_at_or_over_the_limit_is_refused(stored: int) -> None:
    with pytest.raises(LimitReached) as caught:
        storage_standing(TENANT, plan(), stored)

    assert caught.value.members["violated-policies"] == ["storage_gb"]


def test_storage_has_a_quota_and_no_window() -> None:
    fields = storage_standing(TENANT, plan(), 0).fields

    assert fields == {"ratelimit-policy": '"storage_gb";q=200', "ratelimit": '"storage_gb";r=200'}
