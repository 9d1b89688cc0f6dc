"""From events that count to what changes: sums of windows, samples of gauges, adjustments of what is closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from libs.schemas.values import EXACT
from services.metering.domain.events import UsageEvent, window_of_us
from services.metering.domain.meters import Counted, Failed, Meters, Sampled


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """A frozen [starts_us, ends_us) of one tenant, in microseconds since 1970."""

    tenant_id: str
    close_id: str
    period: str
    starts_us: int
    ends_us: int


Closed = Mapping[str, Sequence[ClosedPeriod]]
"""The closed periods of each tenant."""

WindowKey = tuple[str, str, int]
"""(tenant, metric, start of the window in microseconds since 1970)."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """`event` came after its period was closed: `amount` is owed or due outside the frozen windows."""

    event: UsageEvent
    metric: str
    amount: int | Decimal
    closed: ClosedPeriod


@dataclass(slots=True)
class Folded:
    """What a batch changes. Sums are exact; samples and failures stand with the event they came from."""

    sums: dict[WindowKey, int | Decimal] = field(default_factory=dict)
    samples: list[tuple[UsageEvent, Sampled]] = field(default_factory=list)
    adjustments: list[Adjustment] = field(default_factory=list)
    failures: list[tuple[UsageEvent, Failed]] = field(default_factory=list)


def closed_at(closed: Closed, tenant_id: str, window_us: int) -> ClosedPeriod | None:
    """Return the closed period that holds the tenant's window, None where it is open."""
    for period in closed.get(tenant_id, ()):
        if period.starts_us <= window_us < period.ends_us:
            return period
    return None


def fold(events: Iterable[UsageEvent], meters: Meters, closed: Closed, *, onto: Folded | None = None) -> Folded:
    """Return what these events change (added to `onto`); each meter has its own outcome, a failed one stops no other.

    Samples are kept whether or not their period is closed: a level holds into the windows after it.
    """
    folded = Folded() if onto is None else onto
    for event in events:
        for outcome in meters.outcomes(event):
            if isinstance(outcome, Counted):
                window_us = window_of_us(event.time_us)
                period = closed_at(closed, event.tenant_id, window_us) if closed else None
                if period is None:
                    _add(folded.sums, (event.tenant_id, outcome.metric, window_us), outcome.amount)
                else:
                    folded.adjustments.append(Adjustment(event, outcome.metric, outcome.amount, period))
            elif isinstance(outcome, Sampled):
                folded.samples.append((event, outcome))
            else:
                folded.failures.append((event, outcome))
    return folded


def _add(sums: dict[WindowKey, int | Decimal], window: WindowKey, amount: int | Decimal) -> None:
    total = sums.get(window)
    sums[window] = amount if total is None else exact_sum(total, amount)


def exact_sum(one: int | Decimal, other: int | Decimal) -> int | Decimal:
    """Return the sum without loss; whole numbers stay integers."""
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return EXACT.add(Decimal(one), Decimal(other))
