"""The router's watermark, carried through usage-shards; that of one topic: test_closing.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.metering.domain.watermark import MAX_STAGES, Carried, Progress

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp()) * 1000


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def after_notes(count: int, apart: timedelta = timedelta(minutes=1)) -> Carried:
    """The router a while and a record further at each note."""
    carried = Carried()
    for number in range(count):
        carried.note(NOON + number * apart, {0: number})
    return carried


def test_a_mark_of_the_router_holds_once_all_that_it_had_written_is_counted() -> None:
    carried = Carried()
    carried.note(NOON, {0: 10, 1: 4})

    assert carried.counted_to({0: Progress(10, NOON_MS), 1: Progress(3, NOON_MS)}) is None
    assert carried.counted_to({0: Progress(10, NOON_MS), 1: Progress(4, NOON_MS)}) == NOON


def test_what_the_router_wrote_late_is_not_taken_for_counted_by_its_append_time() -> None:
    carried = Carried()
    carried.note(NOON, {0: 10})
    carried.note(NOON + minutes(60), {0: 20})  # an hour of the foreign topic, routed at once

    assert carried.counted_to({0: Progress(19, NOON_MS + 3_600_000)}) == NOON
    assert carried.counted_to({0: Progress(20, NOON_MS + 3_600_000)}) == NOON + minutes(60)


def test_the_routers_mark_never_goes_back() -> None:
    carried = Carried()
    carried.note(NOON, {0: 1})
    carried.counted_to({0: Progress(1, NOON_MS)})
    carried.note(NOON - minutes(30), {0: 2})
    assert carried.counted_to({0: Progress(2, NOON_MS)}) == NOON


def test_who_asks_often_fills_no_memory_and_leaves_room_for_what_comes_later() -> None:
    carried = after_notes(MAX_STAGES + 5, apart=timedelta(milliseconds=1))
    carried.note(NOON + minutes(1), {0: 9_000})
    assert carried.counted_to({0: Progress(9_000, NOON_MS)}) == NOON + minutes(1)


def test_what_is_remembered_is_bounded_and_what_was_first_is_kept() -> None:
    carried = after_notes(MAX_STAGES + 5)
    assert carried.counted_to({0: Progress(MAX_STAGES + 5, NOON_MS)}) == NOON + minutes(MAX_STAGES - 1)
