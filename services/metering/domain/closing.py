"""The close of a period: may it be closed like this, is everything acknowledged counted, what is frozen."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar

from libs.schemas.events import CloseRequested, FrozenWindow, Metric, PeriodClosed
from libs.schemas.values import EXACT, Period, TenantId, window_of
from libs.schemas.windows import window_digest
from libs.schemas.zones import TZDATA_VERSION
from services.metering.errors import BadClose

ZERO: Final = Decimal(0)

P = TypeVar("P", bound=Hashable)


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One window as it is stored. `value` is exact, in the unit of its metric."""

    tenant_id: TenantId
    metric: Metric
    window_start: datetime
    value: Decimal
    store_epoch: int
    seq: int

    @property
    def digest(self) -> str:
        """What invoicing must hold before it rates this window."""
        return window_digest(self.tenant_id, self.metric, self.window_start, self.value)


def check(request: CloseRequested) -> None:
    """Raise BadClose unless the request's bounds are the month of its zone, by our own rules, on the grain."""
    try:
        period = Period.month(request.period, request.zone)
    except ValueError as error:
        raise BadClose(f"{request.period} in {request.zone}: {error}") from error
    if (period.starts_at, period.ends_at) != (request.starts_at, request.ends_at):
        raise BadClose(
            f"{request.period} in {request.zone} is [{period.starts_at}, {period.ends_at}) by tzdata {TZDATA_VERSION}, "
            f"not [{request.starts_at}, {request.ends_at})"
        )
    if any(window_of(bound) != bound for bound in (request.starts_at, request.ends_at)):
        raise BadClose("a period starts and ends on a quarter of an hour")
    if request.requested_at < request.ends_at and not request.early:
        raise BadClose(f"{request.period} is not over before {request.ends_at}; only an early close may cut it short")


def through(request: CloseRequested) -> datetime:
    """Return up to when gauges are integrated: the end of the period, or the request's time where it is early."""
    return max(request.starts_at, min(request.ends_at, request.requested_at))


def has_counted(reached: Mapping[P, int], ends: Mapping[P, int]) -> bool:
    """Return whether every partition's offset has reached its end; a partition never read stands at 0."""
    return all(reached.get(partition, 0) >= end for partition, end in ends.items())


def freeze(request: CloseRequested, windows: Iterable[WindowRow], closed_at: datetime) -> PeriodClosed:
    """Return what is said of the close: exactly these windows, and their totals by metric."""
    rows = sorted(windows, key=lambda row: (row.metric, row.window_start))
    totals: dict[Metric, Decimal] = {}
    for row in rows:
        totals[row.metric] = EXACT.add(totals.get(row.metric, ZERO), row.value)
    return PeriodClosed(
        close_id=request.close_id,
        tenant_id=request.tenant_id,
        period=request.period,
        zone=request.zone,
        starts_at=request.starts_at,
        ends_at=request.ends_at,
        through=through(request),
        closed_at=closed_at,
        tzdata_version=TZDATA_VERSION,
        windows=tuple(
            FrozenWindow(
                metric=row.metric,
                window_start=row.window_start,
                store_epoch=row.store_epoch,
                seq=row.seq,
                digest=row.digest,
            )
            for row in rows
        ),
        totals=totals,
    )
