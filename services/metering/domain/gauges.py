"""Gauges: a level over time, integrated exactly.

The samples of one resource are a step function, ordered by (time, source, id); of several at one time the last in that
order holds. A sample holds until the next of its resource, or until it is stale. Integrals are whole numbers of unit
times microsecond (bytes: By.us), so no rounding can depend on the order in which samples came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from services.metering.domain.events import GRAIN_US, window_of_us


class Sample(NamedTuple):
    """From `time_us` on the resource stands at `level`. Compares by (time, source, id): the order that decides."""

    time_us: int
    source: str
    id: str
    level: int


Samples = Mapping[str, Iterable[Sample]]
"""The samples of each resource, in any order."""


@dataclass(frozen=True, slots=True)
class Span:
    """The half-open interval [start_us, end_us), in microseconds since 1970."""

    start_us: int
    end_us: int


def steps(samples: Iterable[Sample], stale_after_us: int) -> Iterator[tuple[Span, int]]:
    """Yield the pieces of one resource's step function: where it stands at which level. Gaps are stale."""
    ordered = sorted(samples)
    for sample, following in zip_longest(ordered, ordered[1:]):
        stale_us = sample.time_us + stale_after_us
        end_us = stale_us if following is None else min(following.time_us, stale_us)
        if end_us > sample.time_us:
            yield Span(sample.time_us, end_us), sample.level


def integrals(samples: Samples, within: Span, stale_after_us: int) -> dict[int, int]:
    """Return level times microseconds for each window that `within` touches, summed over all resources.

    Windows where all levels are zero or stale are absent. A window at an end of `within` is integrated in part.
    """
    totals: dict[int, int] = defaultdict(int)
    for of_resource in samples.values():
        for piece, level in steps(of_resource, stale_after_us):
            for window_us, held_us in _windows(piece, within):
                totals[window_us] += level * held_us
    return {window_us: total for window_us, total in totals.items() if total}


def level_at(samples: Samples, at_us: int, stale_after_us: int) -> int:
    """Return the sum over all resources of the level that holds at `at_us`."""
    return sum(
        level
        for of_resource in samples.values()
        for piece, level in steps(of_resource, stale_after_us)
        if piece.start_us <= at_us < piece.end_us
    )


def _windows(piece: Span, within: Span) -> Iterator[tuple[int, int]]:
    start_us, end_us = max(piece.start_us, within.start_us), min(piece.end_us, within.end_us)
    window_us = window_of_us(start_us)
    while start_us < end_us:
        next_us = min(window_us + GRAIN_US, end_us)
        yield window_us, next_us - start_us
        start_us = next_us
        window_us += GRAIN_US
