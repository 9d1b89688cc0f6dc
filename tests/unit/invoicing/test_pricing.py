"""Which plan version is in force."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.invoicing import OCTOBER, at, history, version

TICK = timedelta(microseconds=1)


def test_the_last_assignment_that_is_effective_by_then_is_in_force() -> None:
    plans = history([version(), version("pro")], ("starter", 1, at(0)), ("pro", 1, at(10)))
    assert [plans.assigned(at(10) - TICK), plans.assigned(at(10))] == [("starter", 1), ("pro", 1)]


def test_usage_from_before_the_first_assignment_is_on_the_first() -> None:
    plans = history([version()], ("starter", 1, at(3) + TICK))
    assert plans.in_force(OCTOBER.starts_at) == version()


def test_of_two_assignments_at_one_instant_the_later_one_stands() -> None:
    plans = history([version(), version("pro")], ("starter", 1, at(5)), ("pro", 1, at(5)))
    assert plans.assigned(at(5)) == ("pro", 1)


def test_a_tenant_stays_on_the_version_it_was_assigned_when_a_newer_one_exists() -> None:
    plans = history([version(), version(number=2, gql="9")], ("starter", 1, at(0)))
    assert plans.in_force(at(100)).version == 1


def test_versions_that_are_needed_and_not_here_are_named() -> None:
    plans = history([version()], ("starter", 1, at(0)), ("pro", 4, at(10)), ("enterprise", 1, at(20)))
    assert plans.unknown([at(1), at(12)]) == [("pro", 4)]


def test_assignments_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="oldest first"):
        history([version()], ("starter", 1, at(5)), ("starter", 1, at(4)))
