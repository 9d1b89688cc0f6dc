"""Deciding again, over archived occurrences, as shard owners decided: which stand, which are copies, which conflict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

from libs.schemas.values import MICROSECOND
from services.metering.domain.intake import DEDUP_HORIZON

HORIZON_US: Final = DEDUP_HORIZON // MICROSECOND
MILLISECOND_US: Final = 1_000


class Spot(NamedTuple):
    """Where an occurrence lies: topic, partition, offset, and its place in the record."""

    topic_id: str
    partition: int
    offset: int
    position: int


class Occurrence(NamedTuple):
    """An event as it came once. Times as in UsageEvent; `appended_at_ms` is the broker's append time."""

    key: bytes
    digest: int
    time_us: int
    appended_at_ms: int
    spot: Spot

    @property
    def kept_from_us(self) -> int:
        """From when its id is kept for the horizon, if it stands."""
        return max(self.time_us, self.appended_at_ms * MILLISECOND_US)


@dataclass(slots=True)
class Decided:
    """What became of many occurrences: the spots of those that count, and how many others there were."""

    counted: list[Spot] = field(default_factory=list)
    copies: int = 0
    conflicts: int = 0


def decide(occurrences: Iterable[Occurrence]) -> Decided:
    """Decide over occurrences of any keys, those of a key next to each other, each key's in any order."""
    decided = Decided()
    for _, of_key in groupby(occurrences, attrgetter("key")):
        _decide_key(list(of_key), decided)
    return decided


def _decide_key(occurrences: list[Occurrence], decided: Decided) -> None:
    standing: Occurrence | None = None
    for one in _in_order(occurrences):
        if standing is None or standing.kept_from_us + HORIZON_US < one.appended_at_ms * MILLISECOND_US:
            standing = one  # nothing stands under its id, or not any more
            decided.counted.append(one.spot)
        elif one.digest == standing.digest:
            decided.copies += 1
        else:
            decided.conflicts += 1


def _in_order(occurrences: list[Occurrence]) -> list[Occurrence]:
    """Return them in the order of their commits.

    Within a partition that is the offsets'. Which of two partitions committed first the archive does not say: append
    time is the best that it knows.
    """
    lanes = {(one.spot.topic_id, one.spot.partition) for one in occurrences}
    if len(lanes) == 1:
        return sorted(occurrences, key=attrgetter("spot"))
    return sorted(occurrences, key=attrgetter("appended_at_ms", "spot"))
