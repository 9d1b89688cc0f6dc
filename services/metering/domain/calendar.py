"""Windows of a query: quarter hours, hours, days and months of any zone, days of 23 and 25 hours included.

Zone rules come from the pinned tzdata (libs.schemas.zones), never from the machine or the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from libs.schemas.values import GRAIN, aware, window_of
from libs.schemas.zones import zone
from services.metering.errors import BadQuery

WindowSize = Literal["15m", "hour", "day", "month"]

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_YEARS: Final = range(2, 9999)  # a window that begins or ends a year further out is still a datetime, in any zone


@dataclass(frozen=True, slots=True)
class Bucket:
    """One window of an answer: [start, end) in UTC."""

    start: datetime
    end: datetime


def buckets(size: WindowSize, zone_name: str, start: datetime, end: datetime) -> Iterator[Bucket]:
    """Yield the windows of `size` that touch [start, end), in order; raise BadQuery for a bad zone or year."""
    try:
        zone(zone_name)
    except ValueError as error:
        raise BadQuery(str(error)) from error
    if start.year not in _YEARS or end.year not in _YEARS:
        raise BadQuery(f"usage is asked for within the years {_YEARS.start} to {_YEARS.stop - 1}")
    follow = _FOLLOWING[size]
    opening = _OPENING[size](aware(start), zone_name)
    while opening < end:
        closing = follow(opening, zone_name)
        yield Bucket(opening, closing)
        opening = closing


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(zone("UTC"))


def _day_of(moment: datetime, zone_name: str) -> datetime:
    return _midnight(moment.astimezone(zone(zone_name)))


def _month_of(moment: datetime, zone_name: str) -> datetime:
    return _midnight(moment.astimezone(zone(zone_name)).replace(day=1))


def _hour_of(moment: datetime, zone_name: str) -> datetime:
    # Where the offset is no whole hour, local hours start at another quarter of the UTC hour.
    local = moment.astimezone(zone(zone_name))
    return window_of(moment) - timedelta(minutes=local.minute - local.minute % 15)


def _day_after(opening: datetime, zone_name: str) -> datetime:
    # Adding to the local wall clock keeps midnight a midnight on days of 23 and 25 hours.
    return _midnight(opening.astimezone(zone(zone_name)) + _DAY)


def _month_after(opening: datetime, zone_name: str) -> datetime:
    local = opening.astimezone(zone(zone_name))
    return _midnight(local.replace(year=local.year + local.month // 12, month=local.month % 12 + 1, day=1))


_OPENING: Final[dict[WindowSize, Callable[[datetime, str], datetime]]] = {
    "15m": lambda moment, _: window_of(moment),
    "hour": _hour_of,
    "day": _day_of,
    "month": _month_of,
}
_FOLLOWING: Final[dict[WindowSize, Callable[[datetime, str], datetime]]] = {
    "15m": lambda opening, _: opening + GRAIN,
    "hour": lambda opening, _: opening + _HOUR,
    "day": _day_after,
    "month": _month_after,
}
