"""Where an event stands in a list of events: by time, then source, then id."""

from __future__ import annotations

from typing import Final, NamedTuple

_BOUND_US: Final = 2**62  # of a bigint, with room to add a day


class Place(NamedTuple):
    """Time in microseconds since 1970. Lists are in this order; no event has an empty source."""

    time_us: int
    source: str
    event_id: str

    @classmethod
    def before(cls, time_us: int) -> Place:
        """Return the place before all events of this time."""
        return cls(time_us, "", "")


def place_in_time(text: str) -> int:
    """Return the time in a part of a cursor; raise ValueError for what is none of ours."""
    time_us = int(text)
    if abs(time_us) >= _BOUND_US:
        raise ValueError("no event has such a time")
    return time_us
