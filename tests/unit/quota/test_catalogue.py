"""The catalogue's documents: what a plan may say, and when it is a new version."""

from __future__ import annotations

from datetime import timedelta

import pytest

from libs.runtime.errors import Broken
from services.quota.domain.catalogue import new_versions, read_catalogue
from services.quota.settings import QuotaSettings
from tests.support.quota_plans import NOON

CATALOGUE = QuotaSettings().plans_file.read_text("utf-8")
LATER = NOON + timedelta(days=1)


def test_the_plans_on_sale_are_those_of_the_brief() -> None:
    limits = {
        one.metadata.name: (one.spec.limits.qps, one.spec.limits.events_s, one.spec.limits.storage_gb)
        for one in read_catalogue(CATALOGUE, name="plans.yaml")
    }

    assert limits == {"starter": (50, 1000, 200), "pro": (50, 1000, 200), "enterprise": (200, 5000, 2000)}


def test_an_empty_store_gets_every_plan_as_its_first_version() -> None:
    added = new_versions(read_catalogue(CATALOGUE, name="plans.yaml"), {}, NOON)

    assert [(plan.plan_id, plan.version) for plan in added] == [("starter", 1), ("pro", 1), ("enterprise", 1)]


def test_what_is_held_already_is_not_added_again() -> None:
    documents = read_catalogue(CATALOGUE, name="plans.yaml")
    held = {plan.plan_id: plan for plan in new_versions(documents, {}, NOON)}

    assert new_versions(documents, held, LATER) == []


def test_a_price_written_otherwise_is_the_same_price() -> None:
    held = {plan.plan_id: plan for plan in new_versions(read_catalogue(CATALOGUE, name="plans.yaml"), {}, NOON)}
    rewritten = read_catalogue(CATALOGUE.replace('"0.1"', '"0.10"'), name="plans.yaml")

    assert new_versions(rewritten, held, LATER) == []


def test_a_changed_limit_is_the_next_version_of_that_plan_alone() -> None:
    held = {plan.plan_id: plan for plan in new_versions(read_catalogue(CATALOGUE, name="plans.yaml"), {}, NOON)}
    changed = read_catalogue(CATALOGUE.replace("qps: 200", "qps: 250"), name="plans.yaml")

    added = new_versions(changed, held, LATER)

    assert [(plan.plan_id, plan.version, plan.limits.qps) for plan in added] == [("enterprise", 2, 250)]
    assert added[0].effective_at == LATER


@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        ("qps: 50", "qps: 0", "limits.qps"),
        ("qps: 50", "qps: 10000000000", "limits.qps"),
        ("qps: 50", "gps: 50", "limits"),
        ('"0.1"', "0.1", "not an integer or a decimal string"),
        ('"0.1"', '"-0.1"', "not negative"),
        ("USD", "XXX", "not one that we bill in"),
        ("{name: pro}", "{name: starter}", "two plans of one name"),
        ("kind: Plan", "kind: Meter", "kind"),
        ("kind: Plan", "kind: [", "not YAML"),
    ],
)
def test_a_document_that_cannot_be_a_plan_stops_the_start_and_says_why(was: str, becomes: str, why: str) -> None:
    with pytest.raises(Broken, match=why) as caught:
        read_catalogue(CATALOGUE.replace(was, becomes, 1), name="plans.yaml")

    assert caught.value.detail.startswith("plans.yaml")
