"""Windows of a query: quarter hours, hours, days and months of any zone, days of 23 and 25 hours included.

Zone rules come from the pinned tzdata (libs.schemas.zones), never from the machine or the database.
"""

from __future__ import annotations

import re
from calendar import monthrange
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
_LENGTH: Final = re.compile(r"([0-9]{1,5})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_GRAIN_TO_LONGEST: Final = (GRAIN, timedelta(days=400))
_YEARS: Final = range(4, 9999)  # a window that begins or ends a year further out is still a datetime, in any zone


@dataclass(frozen=True, slots=True)
class Bucket:
    """One window of an answer: [start, end) in UTC."""

    start: datetime
    end: datetime


def buckets(
    size: WindowSize, zone_name: str, start: datetime, end: datetime, *, anchor_day: int = 1
) -> Iterator[Bucket]:
    """Yield the windows of `size` that touch [start, end), in order; raise BadQuery for a bad zone, year or anchor.

    Months begin on `anchor_day`, 1 to 31, and on their last day where they are shorter. A bound that lies within a
    quarter hour, as some zones had them before 1973, is refused too: what is stored cannot be parted there.
    """
    try:
        zone(zone_name)
    except ValueError as error:
        raise BadQuery(str(error)) from error
    if start.year not in _YEARS or end.year not in _YEARS:
        raise BadQuery(f"usage is asked for within the years {_YEARS.start} to {_YEARS.stop - 1}")
    if anchor_day != 1 and size != "month":
        raise BadQuery("only months begin on a day of the month: ask for window=month")
    bounds = _months(start, zone_name, anchor_day) if size == "month" else _bounds(size, start, zone_name)
    opening = next(bounds)
    while opening < end:
        closing = next(bounds)
        for bound in (opening, closing):
            if window_of(bound) != bound:
                raise BadQuery(f"{zone_name} has a {size} from {bound.isoformat()}, which is on no quarter of an hour")
        yield Bucket(opening, closing)
        opening = closing


def _bounds(size: WindowSize, start: datetime, zone_name: str) -> Iterator[datetime]:
    """Yield where windows begin, from the one that holds `start` on."""
    opening = _OPENING[size](aware(start), zone_name)
    while True:
        yield opening
        opening = _FOLLOWING[size](opening, zone_name)


def _months(start: datetime, zone_name: str, anchor_day: int) -> Iterator[datetime]:
    """Yield where months begin, from the one that holds `start` on.

    By the calendar, not from one to the next: where a zone has skipped the day, its midnight lies on the day after.
    """
    local = aware(start).astimezone(zone(zone_name))
    month = 12 * local.year + local.month - 1
    if _anchored(month, zone_name, anchor_day) > start:
        month -= 1
    while True:
        yield _anchored(month, zone_name, anchor_day)
        month += 1


def _anchored(month: int, zone_name: str, anchor_day: int) -> datetime:
    """Return when the month begins that begins in this calendar month, counted from the year 0."""
    year, number = divmod(month, 12)
    day = min(anchor_day, monthrange(year, number + 1)[1])
    return _midnight(datetime(year, number + 1, day, tzinfo=zone(zone_name)))


def sliding(step: Bucket, over: timedelta) -> Bucket:
    """Return what is totalled for a step of a sliding query: as long as `over`, up to the step's end."""
    return Bucket(step.end - over, step.end)


def length_of(text: str) -> timedelta:
    """Return the length of a sliding range: "90m", "24h" or "30d", whole quarter hours; raise BadQuery.

    A day of it is 24 hours, whatever clocks do.
    """
    found = _LENGTH.fullmatch(text)
    length = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta(0)
    if not _GRAIN_TO_LONGEST[0] <= length <= _GRAIN_TO_LONGEST[1] or length % GRAIN:
        raise BadQuery(f"{text[:16]!r} is no length from 15m to 400d in whole quarter hours, as 24h or 30d")
    return length


def require_grain(start: datetime, end: datetime) -> None:
    """Raise BadQuery unless [start, end) is a span of at most 400 days between quarter hours."""
    if window_of(start) != start or window_of(end) != end:
        raise BadQuery("begin and end on a quarter of an hour: totals are not kept finer")
    if not timedelta(0) < end - start <= _GRAIN_TO_LONGEST[1]:
        raise BadQuery("ask for a span that begins before its end and has at most 400 days")


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(zone("UTC"))


def _day_of(moment: datetime, zone_name: str) -> datetime:
    return _midnight(moment.astimezone(zone(zone_name)))


def _hour_of(moment: datetime, zone_name: str) -> datetime:
    # Where the offset is no whole hour, local hours start at another quarter of the UTC hour.
    local = moment.astimezone(zone(zone_name))
    return window_of(moment) - timedelta(minutes=local.minute - local.minute % 15)


def _day_after(opening: datetime, zone_name: str) -> datetime:
    # Adding to the local wall clock keeps midnight a midnight on days of 23 and 25 hours.
    return _midnight(opening.astimezone(zone(zone_name)) + _DAY)


_OPENING: Final[dict[WindowSize, Callable[[datetime, str], datetime]]] = {
    "15m": lambda moment, _: window_of(moment),
    "hour": _hour_of,
    "day": _day_of,
}
_FOLLOWING: Final[dict[WindowSize, Callable[[datetime, str], datetime]]] = {
    "15m": lambda opening, _: opening + GRAIN,
    "hour": lambda opening, _: opening + _HOUR,
    "day": _day_after,
}
