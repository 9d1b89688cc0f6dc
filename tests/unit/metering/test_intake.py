from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from libs.schemas.values import from_microseconds, rfc3339
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.events import Kind
from services.metering.domain.intake import FUTURE_BOUND, PAST_BOUND, Taken
from services.metering.errors import BodyTooLarge
from tests.support.metering import ALICE, BOB, NOON_US, cloudevent, intake

NOON = from_microseconds(NOON_US)


def take(**changes: object) -> Taken:
    return intake().cloudevents([cloudevent(**changes)])  # type: ignore[arg-type]


def reason(**changes: object) -> str | None:
    [verdict] = take(**changes).verdicts
    return verdict.reason


def test_an_event_is_taken_for_the_tenant_that_it_names() -> None:
    taken = take()
    [event] = taken.events
    assert (event.tenant_id, event.source, event.id, event.type) == (ALICE, "test", "1", "ingest")
    assert (event.kind, event.time_us, event.time_stamped) == (Kind.CLOUDEVENT, NOON_US, False)
    assert event.attributes == {"maestro.ingest.events": 5}
    assert taken.rejected == []


@pytest.mark.parametrize("subject", [BOB, "someone", None])
def test_an_event_for_a_tenant_that_the_sender_may_not_name_is_rejected(subject: str | None) -> None:
    assert reason(subject=subject) == "wrong_tenant"


def test_an_event_without_a_time_is_stamped_with_the_edges_clock() -> None:
    [event] = take(time=None).events
    assert (event.time_us, event.time_stamped) == (NOON_US, True)


def test_a_copy_stamped_at_another_moment_is_still_the_same_body() -> None:
    [first] = take(time=None).events
    later = intake(now_us=NOON_US + 1_000_000)
    [second] = later.cloudevents([cloudevent(time=None)]).events
    assert (first.key, first.digest) == (second.key, second.digest)


@pytest.mark.parametrize("ahead", [FUTURE_BOUND + timedelta(seconds=1), timedelta(days=1)])
def test_an_event_too_far_in_the_future_is_rejected_with_the_bound(ahead: timedelta) -> None:
    [verdict] = take(time=rfc3339(NOON + ahead)).verdicts
    assert verdict.reason == "too_far_ahead"
    assert "15 minutes" in (verdict.detail or "")


def test_an_event_older_than_the_dedup_horizon_allows_is_rejected_with_the_bound() -> None:
    [verdict] = take(time=rfc3339(NOON - PAST_BOUND - timedelta(seconds=1))).verdicts
    assert verdict.reason == "too_old"
    assert "34 days" in (verdict.detail or "")


@pytest.mark.parametrize("time", [NOON + FUTURE_BOUND, NOON - PAST_BOUND])
def test_an_event_on_a_bound_is_taken(time: datetime) -> None:
    assert reason(time=rfc3339(time)) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"specversion": "0.3"}, "bad_event"),
        ({"id": ""}, "bad_event"),
        ({"source": None}, "bad_event"),
        ({"source": "a\x00b"}, "bad_event"),
        ({"id": "x" * 1025}, "bad_event"),
        ({"time": "yesterday"}, "bad_event"),
        ({"time": "2025-11-24T16:00:00"}, "bad_event"),
        ({"data": {"maestro.ingest.events": "NaN"}}, "bad_number"),
        ({"data": {"maestro.ingest.events": -1}}, "bad_amount"),
        ({"data": {"maestro.ingest.events": "1e99999999999999999999"}}, "bad_number"),
        ({"data": {"": 1}}, "bad_attributes"),
    ],
)
def test_what_cannot_be_taken_is_rejected_with_a_stable_reason(changes: dict[str, object], expected: str) -> None:
    assert reason(**changes) == expected


def test_a_rejected_event_stops_no_other() -> None:
    taken = intake().cloudevents([cloudevent("1"), "no event", cloudevent("2", subject=BOB), cloudevent("3")])
    assert [event.id for event in taken.events] == ["1", "3"]
    assert [(one.index, one.id, one.reason) for one in taken.rejected] == [
        (1, None, "bad_event"),
        (2, "2", "wrong_tenant"),
    ]


def test_an_event_is_taken_as_long_as_one_meter_can_take_it() -> None:
    assert reason(data={"maestro.ingest.events": "NaN", "maestro.storage.bytes": 1}) is None


def test_an_event_that_no_meter_looks_at_is_taken_all_the_same() -> None:
    assert reason(data={"tokens": 5}) is None


def test_data_that_is_no_object_is_part_of_the_body() -> None:
    [one], [other] = take(data=[1]).events, take(data=[2]).events
    assert one.digest != other.digest
    assert one.attributes == {"data": "[1]"}


def test_nested_data_and_a_dotted_name_are_the_same_event() -> None:
    [dotted] = take().events
    [nested] = take(data={"maestro": {"ingest": {"events": 5}}}).events
    assert dotted == nested


def test_the_binary_mode_takes_its_attributes_from_headers() -> None:
    document = cloudevent()
    headers = [(f"ce-{name}", str(value)) for name, value in document.items() if name != "data"]
    taken = intake().binary([*headers, ("content-type", "application/json")], {"maestro.ingest.events": 5})
    assert taken.events == take().events


def test_a_binary_event_that_is_rejected_is_named() -> None:
    [verdict] = intake().binary([("ce-id", "7"), ("ce-source", "s")], None).verdicts
    assert (verdict.source, verdict.id, verdict.reason) == ("s", "7", "bad_event")


def test_a_request_with_endless_events_is_refused_as_a_whole() -> None:
    with pytest.raises(BodyTooLarge, match=str(BOUNDS.events)):
        intake().cloudevents([cloudevent()] * (BOUNDS.events + 1))
