"""The ledger: what was asked for, let through, metered and invoiced, per tenant and metric, to the unit.

Three equalities hold in every row, or the ledger does not balance:

    offered = admitted + denied      as the load client counted HTTP answers
    admitted = metered               as `GET /v1/usage` says after the close
    metered = invoiced               as the base quantities of invoice.json say

All numbers are whole: calls, events, and byte-microseconds for storage. Nothing is rounded before it is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Entry = tuple[str, str]
"""(tenant id, metric): what a row of the ledger is about."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one tenant asked for of one metric, and how it was answered."""

    offered: int
    admitted: int
    denied: int


@dataclass(frozen=True, slots=True)
class Row:
    """One tenant and metric, in whole units."""

    tenant: str
    metric: str
    offered: int
    admitted: int
    denied: int
    metered: int
    invoiced: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Two numbers of one row that should be equal and are not."""

    tenant: str
    metric: str
    left: str
    left_count: int
    right: str
    right_count: int

    def __str__(self) -> str:
        """Name the tenant, the metric, both numbers, and by how much they differ."""
        return (
            f"{self.tenant} {self.metric}: {self.left} {self.left_count}, {self.right} {self.right_count} "
            f"(differs by {self.right_count - self.left_count:+d})"
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """All rows, by tenant and metric."""

    rows: tuple[Row, ...]

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Every equality that does not hold."""
        return tuple(difference for row in self.rows for difference in _differences(row))

    @property
    def balances(self) -> bool:
        """Whether every equality holds in every row. An empty ledger proves nothing and does not balance."""
        return bool(self.rows) and not self.differences


def ledger_of(counted: Mapping[Entry, Count], metered: Mapping[Entry, int], invoiced: Mapping[Entry, int]) -> Ledger:
    """Return the ledger over every entry that any side knows: usage that nobody caused is a difference too."""
    nothing = Count(0, 0, 0)
    rows = []
    for entry in sorted(counted.keys() | metered.keys() | invoiced.keys()):
        count = counted.get(entry, nothing)
        rows.append(
            Row(*entry, count.offered, count.admitted, count.denied, metered.get(entry, 0), invoiced.get(entry, 0))
        )
    return Ledger(tuple(rows))


def _differences(row: Row) -> list[Difference]:
    claims = (
        ("offered", row.offered, "admitted + denied", row.admitted + row.denied),
        ("admitted", row.admitted, "metered", row.metered),
        ("metered", row.metered, "invoiced", row.invoiced),
    )
    return [Difference(row.tenant, row.metric, *claim) for claim in claims if claim[1] != claim[3]]
