"""Which plan is in force, and how a change joins the history without rewriting it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.quota.domain.plans import MAX_BACKDATING, PlanTable, Reassignment, reassign
from services.quota.errors import PlanChangeTooEarly, PlanPending
from tests.support.quota_plans import NOON, OTHER, TENANT, assignment, plan, tenant_plan

HOUR = timedelta(hours=1)


@pytest.fixture
def table() -> PlanTable:
    table = PlanTable()
    table.on_plan_changed(plan("starter", 1))
    table.on_plan_changed(plan("enterprise", 1, qps=200))
    table.on_tenant_plan_changed(tenant_plan(assignment("starter"), assignment("enterprise", 1, NOON + HOUR)))
    return table


def test_a_plan_holds_until_the_instant_the_next_one_begins(table: PlanTable) -> None:
    before = table.in_force(TENANT, NOON + HOUR - timedelta(microseconds=1))
    after = table.in_force(TENANT, NOON + HOUR)

    assert (before.plan_id, after.plan_id) == ("starter", "enterprise")


def test_a_tenant_stays_on_the_version_it_was_given_when_the_plan_gets_a_new_one(table: PlanTable) -> None:
    table.on_plan_changed(plan("starter", 2, qps=10))

    assert table.in_force(TENANT, NOON).version == 1


def test_a_record_that_arrives_twice_changes_nothing(table: PlanTable) -> None:
    table.on_tenant_plan_changed(tenant_plan(assignment("starter"), assignment("enterprise", 1, NOON + HOUR)))

    assert table.in_force(TENANT, NOON).plan_id == "starter"


def test_a_tenant_whose_plan_has_not_arrived_is_told_to_come_back(table: PlanTable) -> None:
    with pytest.raises(PlanPending):
        table.in_force(OTHER, NOON)


def test_a_plan_version_that_has_not_arrived_is_told_to_come_back(table: PlanTable) -> None:
    table.on_tenant_plan_changed(tenant_plan(assignment("pro", 7)))

    with pytest.raises(PlanPending):
        table.in_force(TENANT, NOON)


def test_the_same_plan_again_changes_nothing() -> None:
    assert reassign([assignment("starter")], assignment("starter", 1, NOON + HOUR), NOON + HOUR) is None


def test_a_repeated_request_for_a_stated_time_changes_nothing_even_days_later() -> None:
    history = [assignment("starter"), assignment("pro", 1, NOON + HOUR)]

    assert reassign(history, assignment("pro", 1, NOON + HOUR), NOON + timedelta(days=3)) is None


def test_a_newer_version_of_the_same_plan_is_a_change() -> None:
    newer = assignment("starter", 2, NOON + HOUR)

    assert reassign([assignment("starter")], newer, NOON + HOUR) == Reassignment(newer, ())


def test_another_plan_is_added_at_the_end() -> None:
    pro = assignment("pro", 1, NOON + HOUR)

    assert reassign([assignment("starter")], pro, NOON + HOUR) == Reassignment(pro, ())


def test_what_was_only_planned_gives_way_to_what_is_wanted_sooner() -> None:
    planned = assignment("pro", 1, NOON + 9 * HOUR)
    wanted = assignment("enterprise", 1, NOON + HOUR)

    change = reassign([assignment("starter"), planned], wanted, NOON + HOUR)

    assert change == Reassignment(wanted, (planned,))


def test_what_is_planned_for_earlier_stays_when_a_later_change_is_added() -> None:
    planned = assignment("pro", 1, NOON + 2 * HOUR)
    later = assignment("enterprise", 1, NOON + 9 * HOUR)

    change = reassign([assignment("starter"), planned], later, NOON + HOUR)

    assert change == Reassignment(later, ())


def test_asking_for_the_plan_in_force_cancels_what_was_planned() -> None:
    planned = assignment("pro", 1, NOON + 9 * HOUR)

    change = reassign([assignment("starter"), planned], assignment("starter", 1, NOON + HOUR), NOON + HOUR)

    assert change == Reassignment(None, (planned,))


def test_a_plan_never_changes_in_the_past() -> None:
    now = NOON + HOUR
    past = assignment("pro", 1, now - MAX_BACKDATING - timedelta(microseconds=1))

    with pytest.raises(PlanChangeTooEarly, match="past"):
        reassign([assignment("starter")], past, now)


def test_a_clock_that_runs_a_little_behind_may_still_say_now() -> None:
    now = NOON + HOUR
    wanted = assignment("pro", 1, now - MAX_BACKDATING)

    change = reassign([assignment("starter")], wanted, now)

    assert change == Reassignment(wanted, ())


def test_a_change_comes_after_the_start_of_the_plan_in_force() -> None:
    with pytest.raises(PlanChangeTooEarly, match="must be after"):
        reassign([assignment("starter")], assignment("pro", 1, NOON), NOON)
