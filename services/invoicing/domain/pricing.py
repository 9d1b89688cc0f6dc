"""Which version of which plan is in force for a tenant at an instant."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from libs.schemas.events import PlanAssignment, PlanChanged, PriceMap


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """The prices of one version of a plan, in `currency` (ISO 4217); a version never changes."""

    plan_id: str
    version: int
    currency: str
    prices: PriceMap

    @classmethod
    def of(cls, event: PlanChanged) -> PlanVersion:
        """Return what invoicing keeps of the event: limits are no business of an invoice."""
        return cls(event.plan_id, event.version, event.currency, event.price_map)

    @property
    def key(self) -> tuple[str, int]:
        """Plan id and version."""
        return (self.plan_id, self.version)


@dataclass(frozen=True, slots=True)
class PlanHistory:
    """All assignments of one tenant, oldest first, and the plan versions that are known."""

    assignments: tuple[PlanAssignment, ...]
    versions: Mapping[tuple[str, int], PlanVersion]

    def __post_init__(self) -> None:
        """Refuse assignments out of order: the lookup below is a binary search."""
        starts = [assignment.effective_at for assignment in self.assignments]
        if starts != sorted(starts):
            raise ValueError("the assignments of a tenant stand oldest first")

    def assigned(self, at: datetime) -> tuple[str, int]:
        """Return (plan id, version) in force at `at`: the last assignment that is effective by then.

        Usage from before the first assignment is on the first: a tenant that registers at 10:07 sends its first event
        into the window that started at 10:00. Needs at least one assignment.
        """
        found = bisect_right(self.assignments, at, key=lambda assignment: assignment.effective_at)
        assignment = self.assignments[max(found - 1, 0)]
        return (assignment.plan_id, assignment.version)

    def in_force(self, at: datetime) -> PlanVersion:
        """Return the version in force at `at`; it must be known (see `unknown`)."""
        return self.versions[self.assigned(at)]

    def unknown(self, moments: Iterable[datetime]) -> list[tuple[str, int]]:
        """Return the (plan id, version) in force at any of `moments` that have not reached us, sorted."""
        return sorted({self.assigned(at) for at in moments} - self.versions.keys())
