"""A total built again against the live one: which windows may be compared, and whether they agree to the unit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Final

from libs.schemas.values import MICROSECOND
from services.metering.domain.events import GRAIN_US, window_of_us
from services.metering.domain.gauges import Sample, Span, integrals
from services.metering.domain.intake import FUTURE_BOUND
from services.metering.domain.meters import Meter

ZERO: Final = Decimal(0)
_AHEAD_US: Final = FUTURE_BOUND // MICROSECOND

Samples = Mapping[str, Collection[Sample]]


class Verdict(Enum):
    """What is said of one window."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_ARCHIVED_YET = "not archived yet"  # usage of it was counted that the archive does not hold yet
    NOT_INTEGRATED_YET = "not integrated yet"  # a gauge's window that is not over, or has samples to come
    BEFORE_THE_ARCHIVE = "before the archive"  # records that it may hold were never archived


@dataclass(frozen=True, slots=True)
class Compared:
    """One window of one metric. A value that is None cannot be told."""

    metric: str
    window_us: int
    archived: Decimal | None
    live: Decimal
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Limits:
    """What the archive does not cover: all up to `gap_ended_us`, and by metric the times of events counted since.

    `settled_to_us` says by gauge up to when it is integrated.
    """

    gap_ended_us: int | None = None
    unarchived_us: Mapping[str, Collection[int]] = field(default_factory=dict)
    settled_to_us: Mapping[str, int] = field(default_factory=dict)

    def of(self, meter: Meter, window_us: int) -> Verdict | None:
        """Return what keeps the window from being compared, None where nothing does."""
        # An event comes up to 15 minutes ahead of its time, and a level may be a day old.
        reach_us = meter.max_staleness_us if meter.is_gauge else 0
        if self.gap_ended_us is not None and window_us - reach_us < self.gap_ended_us + _AHEAD_US:
            return Verdict.BEFORE_THE_ARCHIVE
        end_us = window_us + GRAIN_US
        late = self.unarchived_us.get(meter.metric, ())
        if any(window_us - reach_us < time_us + 1 and time_us < end_us for time_us in late):
            return Verdict.NOT_ARCHIVED_YET
        if meter.is_gauge and end_us > self.settled_to_us.get(meter.metric, end_us):
            return Verdict.NOT_INTEGRATED_YET
        return None


def compare(
    meter: Meter, archived: Mapping[int, int | Decimal], live: Mapping[int, Decimal], limits: Limits
) -> Iterator[Compared]:
    """Yield the windows of the metric in which either has something, in order; both map a window's start to a total."""
    for window_us in sorted(archived.keys() | live.keys()):
        mine, theirs = Decimal(archived.get(window_us, 0)), live.get(window_us, ZERO)
        if not mine and not theirs:
            continue
        hindrance = limits.of(meter, window_us)
        verdict = hindrance or (Verdict.AGREES if mine == theirs else Verdict.DIFFERS)
        is_known = hindrance is None or hindrance is Verdict.NOT_ARCHIVED_YET
        yield Compared(meter.metric, window_us, mine if is_known else None, theirs, verdict)


def integrated(meter: Meter, samples: Samples, within: Span) -> dict[int, int]:
    """Return a gauge's windows of `within`, by the integration that made the live ones."""
    return integrals(samples, Span(window_of_us(within.start_us), within.end_us), meter.max_staleness_us)
