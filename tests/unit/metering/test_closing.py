from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from libs.schemas.events import CloseRequested
from libs.schemas.values import Period, TenantId
from libs.schemas.windows import window_digest
from libs.schemas.zones import TZDATA_VERSION
from services.metering.domain.closing import WindowRow, check, freeze, has_counted, through
from services.metering.domain.watermark import SKEW, Progress, watermark
from services.metering.errors import BadClose
from tests.support.metering import ALICE

TENANT = TenantId(ALICE)
NOVEMBER = Period.month("2026-11", "Europe/Berlin")
NOW = datetime(2026, 12, 2, tzinfo=UTC)


def request(**changes: object) -> CloseRequested:
    fields: dict[str, object] = {
        "close_id": "c1",
        "tenant_id": TENANT,
        "period": NOVEMBER.name,
        "zone": NOVEMBER.zone,
        "starts_at": NOVEMBER.starts_at,
        "ends_at": NOVEMBER.ends_at,
        "requested_at": NOW,
    }
    return CloseRequested.model_validate(fields | changes)


def row(metric: str, hour: int, value: str, seq: int = 1) -> WindowRow:
    start = NOVEMBER.starts_at + timedelta(hours=hour)
    return WindowRow(TENANT, metric, start, Decimal(value), 1, seq)  # type: ignore[arg-type]


def test_a_period_that_is_over_may_be_closed() -> None:
    check(request())


@pytest.mark.parametrize(
    "changes",
    [
        {"zone": "UTC"},
        {"period": "2026-10"},
        {"ends_at": NOVEMBER.ends_at + timedelta(minutes=15)},
        {"requested_at": NOVEMBER.ends_at - timedelta(seconds=1)},
    ],
)
def test_a_close_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadClose):
        check(request(**changes))


def test_only_an_early_close_may_cut_a_period_short() -> None:
    early = request(requested_at=NOVEMBER.ends_at - timedelta(days=3), early=True)
    check(early)
    assert through(early) == early.requested_at


def test_gauges_are_integrated_to_the_end_of_a_period_that_is_over() -> None:
    assert through(request()) == NOVEMBER.ends_at


def test_what_is_said_names_each_window_with_sequence_and_digest() -> None:
    said = freeze(request(), [row("ingest_events", 1, "0.2", 4), row("ingest_events", 0, "0.1", 3)], NOW)
    assert [(one.window_start, one.seq) for one in said.windows] == [
        (NOVEMBER.starts_at, 3),
        (NOVEMBER.starts_at + timedelta(hours=1), 4),
    ]
    assert said.windows[0].digest == window_digest(TENANT, "ingest_events", NOVEMBER.starts_at, Decimal("0.1"))
    assert (said.closed_at, said.tzdata_version) == (NOW, TZDATA_VERSION)


def test_totals_are_exact_and_apart_by_metric() -> None:
    rows = [row("ingest_events", 0, "9007199254740993"), row("ingest_events", 1, "1e-12"), row("gql_calls", 0, "2")]
    assert freeze(request(), rows, NOW).totals == {
        "ingest_events": Decimal("9007199254740993.000000000001"),
        "gql_calls": Decimal(2),
    }


def test_the_order_in_which_windows_are_read_changes_nothing() -> None:
    rows = [row("ingest_events", hour, "1") for hour in range(5)]
    assert freeze(request(), rows, NOW) == freeze(request(), rows[::-1], NOW)


@pytest.mark.parametrize(
    ("reached", "expected"),
    [({0: 5, 1: 3}, True), ({0: 6, 1: 3}, True), ({0: 4, 1: 3}, False), ({0: 5}, False), ({}, False)],
)
def test_all_is_counted_once_every_partition_has_reached_its_end(reached: dict[int, int], expected: bool) -> None:
    assert has_counted(reached, {0: 5, 1: 3}) is expected


def test_a_partition_that_never_held_anything_is_counted() -> None:
    assert has_counted({}, {0: 0})


BEHIND_MS = 1_764_000_000_000
BEHIND = datetime.fromtimestamp(BEHIND_MS / 1000, UTC)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ({0: Progress(5, BEHIND_MS), 1: Progress(3, BEHIND_MS)}, NOW - SKEW),
        ({0: Progress(4, BEHIND_MS), 1: Progress(3, BEHIND_MS)}, BEHIND - SKEW),
        ({0: Progress(5, BEHIND_MS)}, None),
        ({0: Progress(5, BEHIND_MS), 1: Progress(0, 0)}, None),
    ],
)
def test_totals_are_as_complete_as_the_partition_that_is_furthest_behind(
    progress: dict[int, Progress], expected: datetime | None
) -> None:
    assert watermark(progress, {0: 5, 1: 3}, NOW) == expected


def test_a_topic_without_records_is_complete_up_to_now() -> None:
    assert watermark({}, {0: 0, 1: 0}, NOW) == NOW - SKEW
