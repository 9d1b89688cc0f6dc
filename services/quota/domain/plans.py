"""Which plan is in force for whom: the table every process keeps in memory, and how an assignment joins a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.bus.audit import Change
from libs.schemas.events import PlanAssignment, PlanChanged, TenantPlanChanged
from libs.schemas.values import TenantId, rfc3339
from services.quota.errors import PlanChangeTooEarly, PlanPending

MAX_BACKDATING: Final = timedelta(minutes=5)  # what two clocks may differ by; further back lies invoiced usage


class PlanTable:
    """All plan versions and all tenants' assignments, fed record by record from `plan-changes`.

    Read on every check, so that neither a store nor a broker lies on the way of one; a change holds as soon as its
    record arrives. A version never changes, and a tenant's assignments come as a whole: records may repeat.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._versions: dict[tuple[str, int], PlanChanged] = {}
        self._assignments: dict[TenantId, tuple[PlanAssignment, ...]] = {}

    def on_plan_changed(self, plan: PlanChanged) -> None:
        """Learn one version of a plan."""
        self._versions[plan.plan_id, plan.version] = plan

    def on_tenant_plan_changed(self, tenant_plan: TenantPlanChanged) -> None:
        """Learn all assignments of one tenant."""
        self._assignments[tenant_plan.tenant_id] = tenant_plan.assignments

    def in_force(self, tenant_id: TenantId, now: datetime) -> PlanChanged:
        """Return the plan version that the tenant is on at `now`; raise PlanPending where that is not known here."""
        assignment = in_force(self._assignments.get(tenant_id, ()), now)
        plan = self._versions.get((assignment.plan_id, assignment.version)) if assignment else None
        if plan is None:
            raise PlanPending("the tenant is new and its plan is on its way; try again in a second")
        return plan


def plan_change(tenant_id: TenantId, change: Reassignment, now: datetime) -> Change:
    """Return what the record of changes says of a reassignment."""
    if change.added is None:
        return Change("plan.withdrawn", f"tenant/{tenant_id}", now, tenant_id)
    plan = f"{change.added.plan_id}/{change.added.version}"
    details = {"plan": plan, "effective_at": rfc3339(change.added.effective_at)}
    return Change("plan.assigned", f"tenant/{tenant_id}", now, tenant_id, details)


def in_force(history: Sequence[PlanAssignment], now: datetime) -> PlanAssignment | None:
    """Return the assignment that holds at `now`, None before the first. `history` is oldest first."""
    return next((one for one in reversed(history) if one.effective_at <= now), None)


@dataclass(frozen=True, slots=True)
class Reassignment:
    """What a change adds to a history, None where it only withdraws, and what it withdraws (planned, not in force)."""

    added: PlanAssignment | None
    withdrawn: tuple[PlanAssignment, ...]


def reassign(history: Sequence[PlanAssignment], wanted: PlanAssignment, now: datetime) -> Reassignment | None:
    """Return what becomes of `history` (oldest first, not empty) when `wanted` is asked for at `now`.

    None where nothing would change: the tenant is on that version of that plan then, and nothing else is planned. What
    has begun stays as it was, since usage was limited and may be billed by it; what is only planned for `wanted`'s time
    or later gives way. Raises PlanChangeTooEarly for a time in the past or not after the start of the plan in force.
    """
    kept = tuple(one for one in history if one.effective_at <= now or one.effective_at < wanted.effective_at)
    withdrawn = tuple(history[len(kept) :])
    last = kept[-1]
    if _is_same_plan(last, wanted) and last.effective_at <= wanted.effective_at:
        return Reassignment(None, withdrawn) if withdrawn else None
    if wanted.effective_at < now - MAX_BACKDATING:
        raise PlanChangeTooEarly("`effective_at` is past: what was used then may be invoiced; leave it out for now")
    if wanted.effective_at <= last.effective_at:
        raise PlanChangeTooEarly(
            f"`effective_at` must be after {rfc3339(last.effective_at)}, when the plan in force began"
        )
    return Reassignment(wanted, withdrawn)


def _is_same_plan(one: PlanAssignment, other: PlanAssignment) -> bool:
    return (one.plan_id, one.version) == (other.plan_id, other.version)
