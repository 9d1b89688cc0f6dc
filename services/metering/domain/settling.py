"""What is new, what is a copy, what is a conflict: the shard owner's decision over one batch.

The first committed event of a key stands, within a batch the one of the lowest offset. A copy has the same digest;
another body or time under the same key is a conflict: listed, never counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.metering.domain.events import UsageEvent


@dataclass(frozen=True, slots=True)
class Conflict:
    """`other` came under the key of an event that stands with another digest."""

    other: UsageEvent
    first_digest: int


@dataclass(slots=True)
class Candidates:
    """One batch, before the store was asked: the first event of every key, and what came again within the batch."""

    firsts: dict[bytes, UsageEvent] = field(default_factory=dict)
    repeats: list[UsageEvent] = field(default_factory=list)


@dataclass(slots=True)
class Settled:
    """One batch, decided. `copies` counts the duplicates of each key."""

    fresh: list[UsageEvent] = field(default_factory=list)
    copies: Counter[bytes] = field(default_factory=Counter)
    conflicts: list[Conflict] = field(default_factory=list)


def candidates_of(events: Iterable[UsageEvent]) -> Candidates:
    """Return the events of a batch, in offset order, apart by whether their key came before in it."""
    found = Candidates()
    for event in events:
        if event.key in found.firsts:
            found.repeats.append(event)
        else:
            found.firsts[event.key] = event
    return found


def settle(candidates: Candidates, known: Mapping[bytes, int]) -> Settled:
    """Decide the batch, given the digests of those of its keys that the store already knew."""
    settled = Settled(fresh=[event for key, event in candidates.firsts.items() if key not in known])
    again = [event for key, event in candidates.firsts.items() if key in known]
    for event in (*again, *candidates.repeats):
        first_digest = known.get(event.key, candidates.firsts[event.key].digest)
        if event.digest == first_digest:
            settled.copies[event.key] += 1
        else:
            settled.conflicts.append(Conflict(event, first_digest))
    return settled
