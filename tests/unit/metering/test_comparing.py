"""A window is compared only where both sides cover it, and then to the unit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.metering.domain.comparing import Limits, Verdict, compare
from tests.support.metering import MINUTE_US, NOON_US, QUARTER_US, SECOND_US, default_meters

METERS = default_meters().by_metric
EVENTS, STORAGE = METERS["ingest_events"], METERS["storage_gb"]
DAY_US = 24 * 60 * MINUTE_US


def verdict(limits: Limits, window_us: int = NOON_US, metric: str = "ingest_events") -> Verdict:
    [found] = compare(METERS[metric], {window_us: 5}, {window_us: Decimal(5)}, limits)
    return found.verdict


@pytest.mark.parametrize(
    ("archived", "live", "expected"),
    [
        ({NOON_US: 5}, {NOON_US: Decimal("5.000")}, Verdict.AGREES),
        ({NOON_US: Decimal("0.1")}, {NOON_US: Decimal("0.100000000001")}, Verdict.DIFFERS),
        ({NOON_US: 5}, {}, Verdict.DIFFERS),
        ({}, {NOON_US: Decimal(5)}, Verdict.DIFFERS),
    ],
)
def test_totals_are_compared_to_the_last_digit(
    archived: dict[int, int], live: dict[int, Decimal], expected: Verdict
) -> None:
    [found] = compare(EVENTS, archived, live, Limits())
    assert found.verdict is expected


def test_a_window_in_which_neither_has_anything_is_not_shown() -> None:
    assert list(compare(EVENTS, {}, {NOON_US: Decimal(0)}, Limits())) == []


@pytest.mark.parametrize(
    ("time_us", "expected"),
    [
        (NOON_US - 1, Verdict.AGREES),
        (NOON_US, Verdict.NOT_ARCHIVED_YET),
        (NOON_US + QUARTER_US - 1, Verdict.NOT_ARCHIVED_YET),
        (NOON_US + QUARTER_US, Verdict.AGREES),
    ],
)
def test_a_window_with_usage_that_is_counted_and_not_archived_waits(time_us: int, expected: Verdict) -> None:
    assert verdict(Limits(unarchived_us={"ingest_events": {time_us}})) is expected


@pytest.mark.parametrize(
    ("time_us", "expected"),
    [
        (NOON_US - DAY_US - SECOND_US, Verdict.AGREES),
        (NOON_US - DAY_US + SECOND_US, Verdict.NOT_ARCHIVED_YET),
        (NOON_US + QUARTER_US, Verdict.AGREES),
    ],
)
def test_a_level_that_is_not_archived_reaches_into_the_windows_after_it(time_us: int, expected: Verdict) -> None:
    assert verdict(Limits(unarchived_us={"storage_gb": {time_us}}), metric="storage_gb") is expected


@pytest.mark.parametrize(
    ("gap_us", "expected"),
    [(NOON_US - QUARTER_US, Verdict.AGREES), (NOON_US - QUARTER_US + 1, Verdict.BEFORE_THE_ARCHIVE)],
)
def test_a_window_whose_events_may_have_come_before_the_archive_is_not_compared(gap_us: int, expected: Verdict) -> None:
    assert verdict(Limits(gap_ended_us=gap_us)) is expected


def test_what_lies_before_the_archive_has_no_total_of_it() -> None:
    [found] = compare(EVENTS, {NOON_US: 5}, {NOON_US: Decimal(7)}, Limits(gap_ended_us=NOON_US))
    assert found.archived is None
    assert found.live == 7


@pytest.mark.parametrize(
    ("settled_us", "expected"),
    [(NOON_US + QUARTER_US, Verdict.AGREES), (NOON_US + QUARTER_US - 1, Verdict.NOT_INTEGRATED_YET)],
)
def test_a_gauges_window_is_compared_once_it_is_integrated_whole(settled_us: int, expected: Verdict) -> None:
    assert verdict(Limits(settled_to_us={"storage_gb": settled_us}), metric="storage_gb") is expected
