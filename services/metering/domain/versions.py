"""Versions of meters: which are in force at which time, and from when on a new one can be.

A version is in force from its `effective_us` until that of the next version of its name. It counts the events whose
time lies there, whenever they come. That is the same for everybody because nobody can take an event of a version's time
before they know the version, or know that they do not:

- an edge takes events up to FUTURE_BOUND ahead of its clock. A version created at c takes effect no earlier than
  c + FUTURE_BOUND + LEASE + SLACK, so its first event comes later than c + LEASE, clocks that differ by SLACK included;
- only what an edge drops needs its knowledge (spans that no meter looks at). It drops while it has read the versions
  within the last LEASE, so it has read this one; else it passes all spans on, and owners count nothing for them;
- an owner counts an event after an edge made it durable, so after c: the transaction that counts looks at the epoch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import KeysView, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.schemas.values import EPOCH, GRAIN, microseconds
from services.metering.domain.events import Attributes, Kind, UsageEvent
from services.metering.domain.intake import FUTURE_BOUND
from services.metering.domain.meters import Meter, MeterDocument, Meters, Outcome
from services.metering.errors import BadMeter

LEASE: Final = timedelta(seconds=60)
SLACK: Final = timedelta(seconds=120)  # a minute that clocks may differ, and one that a change may take to be committed
SINCE_EVER: Final = EPOCH
MAX_METERS: Final = 100  # names, retired ones too: each is asked about each new shape of event


@dataclass(frozen=True, slots=True)
class MeterVersion:
    """One version of one meter, in force from `effective_from` on; a retired one looks at nothing."""

    document: MeterDocument
    effective_from: datetime
    is_retired: bool = False

    @property
    def name(self) -> str:
        """Whose version it is."""
        return self.document.metadata.name

    @property
    def number(self) -> int:
        """Which one, from 1 on."""
        return self.document.metadata.version


def earliest(created_at: datetime) -> datetime:
    """Return from when on a version that is created now can be in force: a quarter of an hour begins there."""
    bound = created_at + FUTURE_BOUND + LEASE + SLACK
    return bound + (EPOCH - bound) % GRAIN


def check_follows(version: MeterVersion, before: MeterVersion | None) -> None:
    """Raise BadMeter where `version` cannot come after the one before it: its totals would mean something else."""
    if version.effective_from != version.effective_from - (version.effective_from - EPOCH) % GRAIN:
        raise BadMeter("a version takes effect at the start of a quarter of an hour")
    if before is None:
        return
    own, other = version.document.spec, before.document.spec
    for name in ("aggregation", "resource", "max_staleness_s"):
        if getattr(own, name) != getattr(other, name):
            raise BadMeter(f"`{name}` of {version.name} stays what it is; make a meter of another name")
    if version.effective_from <= before.effective_from:
        raise BadMeter(f"version {before.number} takes effect at {before.effective_from}; the next one comes later")


class MeterBook(Meters):
    """All versions of all meters, as last read; whoever holds it sees what is read later."""

    def __init__(self, versions: Sequence[MeterVersion] = (), epoch: int = 0) -> None:
        """Start with these, read at `epoch` of the store."""
        self._read_s: float | None = None
        self.read(versions, epoch)

    def read(self, versions: Sequence[MeterVersion], epoch: int) -> None:
        """Put these in the place of all others."""
        newest = _newest(versions)
        super().__init__(Meter(one.document) for _, one in sorted(newest.items()))
        made = {(one.name, one.number): Meter(one.document) for one in versions}
        starts = sorted({SINCE_EVER, *(one.effective_from for one in versions)})
        sets = [_in_force(versions, made, start) for start in starts]
        self._intervals = (
            [microseconds(start) for start in starts],
            sets,
        )  # one assignment: the archiver's thread reads it
        self.epoch = epoch

    def note_read(self, monotonic_s: float) -> None:
        """Note that what is held is what the store held at this time of the process."""
        self._read_s = monotonic_s

    def may_leave_out(self, monotonic_s: float) -> bool:
        """Return whether it is recent enough to say that no meter looks at an event that comes now."""
        return self._read_s is not None and monotonic_s - self._read_s < LEASE.total_seconds()

    def at(self, time_us: int) -> Meters:
        """Return the meters in force at a time, in microseconds since 1970."""
        starts_us, sets = self._intervals
        return sets[max(0, bisect_right(starts_us, time_us) - 1)]

    def may_measure(self, kind: Kind, names: KeysView[str]) -> bool:
        """Return whether an event of this kind with attributes of these names can be usage, at any time."""
        return any(one.may_measure(kind, names) for one in self._intervals[1])

    def measures(self, kind: Kind, event_type: str, attributes: Attributes) -> bool:
        """Return whether any version of a meter looks at such an event."""
        return any(one.measures(kind, event_type, attributes) for one in self._intervals[1])

    def outcomes(self, event: UsageEvent) -> Sequence[Outcome]:
        """Return what each meter that is in force at the event's time makes of it."""
        return self.at(event.time_us).outcomes(event)


def _newest(versions: Sequence[MeterVersion]) -> Mapping[str, MeterVersion]:
    return {one.name: one for one in sorted(versions, key=lambda one: one.number)}


def _in_force(versions: Sequence[MeterVersion], made: Mapping[tuple[str, int], Meter], at: datetime) -> Meters:
    begun = _newest([one for one in versions if one.effective_from <= at])
    return Meters(made[name, one.number] for name, one in sorted(begun.items()) if not one.is_retired)
