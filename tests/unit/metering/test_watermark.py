"""Marks of what feeds usage-shards, carried through it; that of one topic: test_closing.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.metering.domain.watermark import MAX_STAGES, Carried, Diverted, Progress, Watermarks, earlier, overflowed

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp()) * 1000


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def after_notes(count: int, apart: timedelta = timedelta(minutes=1)) -> Carried:
    """The router a while and a record further at each note."""
    carried = Carried()
    for number in range(count):
        carried.note({0: NOON + number * apart}, {0: number})
    return carried


def test_a_mark_of_the_router_holds_once_all_that_it_had_written_is_counted() -> None:
    carried = Carried()
    carried.note({0: NOON}, {0: 10, 1: 4})

    assert carried.counted_to({0: Progress(10, NOON_MS), 1: Progress(3, NOON_MS)}) == {}
    assert carried.counted_to({0: Progress(10, NOON_MS), 1: Progress(4, NOON_MS)}) == {0: NOON}


def test_what_the_router_wrote_late_is_not_taken_for_counted_by_its_append_time() -> None:
    carried = Carried()
    carried.note({0: NOON}, {0: 10})
    carried.note({0: NOON + minutes(60)}, {0: 20})  # an hour of the foreign topic, routed at once

    assert carried.counted_to({0: Progress(19, NOON_MS + 3_600_000)}) == {0: NOON}
    assert carried.counted_to({0: Progress(20, NOON_MS + 3_600_000)}) == {0: NOON + minutes(60)}


def test_the_routers_mark_never_goes_back() -> None:
    carried = Carried()
    carried.note({0: NOON}, {0: 1})
    carried.counted_to({0: Progress(1, NOON_MS)})
    carried.note({0: NOON - minutes(30)}, {0: 2})
    assert carried.counted_to({0: Progress(2, NOON_MS)}) == {0: NOON}


def test_who_asks_often_fills_no_memory_and_leaves_room_for_what_comes_later() -> None:
    carried = after_notes(MAX_STAGES + 5, apart=timedelta(milliseconds=1))
    carried.note({0: NOON + minutes(1)}, {0: 9_000})
    assert carried.counted_to({0: Progress(9_000, NOON_MS)}) == {0: NOON + minutes(1)}


def test_what_is_remembered_is_bounded_and_what_was_first_is_kept() -> None:
    carried = after_notes(MAX_STAGES + 5)
    assert carried.counted_to({0: Progress(MAX_STAGES + 5, NOON_MS)}) == {0: NOON + minutes(MAX_STAGES - 1)}


def test_of_two_marks_the_earlier_holds_and_none_where_one_is_unknown() -> None:
    assert earlier({0: NOON, 1: NOON, 2: NOON}, {0: NOON - minutes(1), 1: NOON + minutes(1)}) == {
        0: NOON - minutes(1),
        1: NOON,
    }


def test_one_partitions_mark_does_not_wait_for_anothers_to_be_counted() -> None:
    carried = Carried()
    carried.note({0: NOON, 1: NOON}, {0: 10})
    carried.note({0: NOON, 1: NOON + minutes(60)}, {0: 20})
    assert carried.counted_to({0: Progress(20, NOON_MS)}) == {0: NOON, 1: NOON + minutes(60)}


def test_a_partition_that_was_never_forwarded_has_no_mark_and_one_at_its_end_is_complete() -> None:
    marks = overflowed({1: Progress(7, NOON_MS)}, {0: 3, 1: 7, 2: 0}, NOON + minutes(60))
    assert marks.keys() == {1, 2}
    assert min(marks.values()) > NOON + minutes(59)


def test_what_a_router_diverted_holds_back_its_mark_on_that_partition_alone() -> None:
    diverted = Diverted()
    diverted.note(NOON, {0: 5, 1: 0})
    behind = diverted.forwarded_to(NOON + minutes(9), {0: Progress(4, NOON_MS)}, {0: 5, 1: 0})
    later = diverted.forwarded_to(NOON + minutes(60), {0: Progress(5, NOON_MS)}, {0: 8, 1: 0})
    assert behind == {1: NOON + minutes(9)}
    assert later == {0: NOON + minutes(9), 1: NOON + minutes(60)}


def test_a_tenants_watermark_is_its_partitions_and_that_of_all_needs_all() -> None:
    marks = Watermarks({0: NOON, 1: NOON + minutes(1)}, 3)
    assert {marks.of(f"tnt_{number}") for number in range(20)} == {NOON, NOON + minutes(1), None}
    assert (marks.least(), marks.greatest()) == (None, NOON + minutes(1))
    assert Watermarks({}, 0).of("tnt_1") is None
