"""What was asked for and how it was answered, counted by HTTP status."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

FAILURES_KEPT = 20  # enough to see a pattern; the count is complete in any case


@dataclass(slots=True)
class Tally:
    """Units per (tenant, metric): offered when the call begins, admitted or denied when its answer is known.

    `failed` counts calls with neither answer. The ledger means something only where it is zero.
    """

    offered: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    admitted: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    denied: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    calls: int = 0
    retries: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, why: str) -> None:
        """Count a call whose outcome is neither admitted nor denied."""
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(why)

    def counts(self) -> list[dict[str, str | int]]:
        """Return one object per tenant and metric, in order."""
        return [
            {
                "tenant_id": tenant_id,
                "metric": metric,
                "offered": self.offered[tenant_id, metric],
                "admitted": self.admitted[tenant_id, metric],
                "denied": self.denied[tenant_id, metric],
            }
            for tenant_id, metric in sorted(self.offered)
        ]
