"""Billing months are closed at the end of the demo, so the whole demo has to lie inside one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

ROOM_AFTER_START = timedelta(seconds=15)  # storage samples lie in the past, but inside the month
ROOM_BEFORE_END = timedelta(minutes=5)  # the longest demo seen on a busy machine, twice


def month_start(now: datetime) -> datetime:
    """Return the first instant of the UTC month that holds `now`."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month_start(now: datetime) -> datetime:
    """Return the first instant of the following UTC month."""
    return month_start(month_start(now) + timedelta(days=32))


def wait_for_room(now: datetime) -> timedelta:
    """Return how long to wait until a demo that starts then lies inside one month; nothing, nearly always."""
    started, ends = month_start(now), next_month_start(now)
    if now < started + ROOM_AFTER_START:
        return started + ROOM_AFTER_START - now
    if now >= ends - ROOM_BEFORE_END:
        return ends + ROOM_AFTER_START - now
    return timedelta(0)
