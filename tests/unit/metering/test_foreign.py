"""Records of foreign topics: what is read of them, and that they are the same usage as over HTTP."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runtime.errors import Rejected
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.events import UsageEvent
from services.metering.domain.exports import MAX_REASONS
from services.metering.domain.foreign import SEVERAL, RawHeaders, Refusal, read_events, read_spans, refusal_of
from services.metering.domain.intake import PAST_BOUND, Taken
from services.metering.domain.spans import from_protobuf
from tests.support.metering import ALICE, BOB, MINUTE_US, NOON_US, SECOND_US, cloudevent, export, graphql_span, intake

STRUCTURED = [("content-type", b"application/cloudevents+json; charset=utf-8")]
BATCH = [("Content-Type", b"application/cloudevents-batch+json")]
PAST_US = PAST_BOUND.days * 24 * 3600 * SECOND_US
SPANS_JSON = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "gateway"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": (1).to_bytes(16, "big").hex(),
                            "spanId": (1).to_bytes(8, "big").hex(),
                            "name": "POST /graphql",
                            "kind": 2,
                            "startTimeUnixNano": str((NOON_US - SECOND_US) * 1000),
                            "endTimeUnixNano": str(NOON_US * 1000),
                            "attributes": [
                                {"key": "graphql.operation.type", "value": {"stringValue": "query"}},
                                {"key": "maestro.tenant.id", "value": {"stringValue": ALICE}},
                            ],
                        }
                    ]
                }
            ],
        }
    ]
}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def binary(document: dict[str, Any]) -> tuple[list[tuple[str, bytes]], bytes]:
    headers = [(f"ce_{name}", str(value).encode()) for name, value in document.items() if name != "data"]
    return [*headers, ("content-type", b"application/json")], encoded(document["data"])


def over_http(*documents: dict[str, object]) -> list[UsageEvent]:
    return intake().cloudevents(documents).events


def code_of(headers: RawHeaders, value: bytes | None) -> str:
    with pytest.raises(Rejected) as refused:
        read_events(intake(), headers, value)
    return refused.value.code


def test_an_event_is_the_same_in_every_mode_and_over_http() -> None:
    document = cloudevent()
    http = over_http(document)

    assert read_events(intake(), *binary(document)).events == http
    assert read_events(intake(), STRUCTURED, encoded(document)).events == http
    assert read_events(intake(), BATCH, encoded([document])).events == http


@pytest.mark.parametrize("written", [encoded(cloudevent()), encoded([cloudevent()])])
def test_without_headers_the_value_is_an_event_or_an_array_of_them(written: bytes) -> None:
    assert read_events(intake(), [], written).events == over_http(cloudevent())


def test_an_event_of_the_binary_mode_may_have_no_data() -> None:
    headers, _ = binary(cloudevent())
    [event] = read_events(intake(), headers, None).events
    assert event.attributes == {}


def test_a_value_may_be_compressed_by_its_writer() -> None:
    headers = [*STRUCTURED, ("content-encoding", b"gzip")]
    assert read_events(intake(), headers, gzip.compress(encoded(cloudevent()))).events == over_http(cloudevent())


@pytest.mark.parametrize(
    ("headers", "value", "code"),
    [
        ([], None, "bad_body"),
        ([], b"", "bad_body"),
        ([], b"\x00\xff", "bad_body"),
        ([], b"[" * 100_000, "bad_body"),
        (BATCH, encoded(cloudevent()), "bad_body"),
        ([("content-type", b"text/plain")], b"{}", "unsupported_media"),
        ([("ce_specversion", b"1.0"), ("content-type", b"text/plain")], b"x", "unsupported_media"),
        ([("ce_id", b"\xff")], b"{}", "bad_event"),
        ([("content-encoding", b"br")], b"{}", "unsupported_media"),
        ([("content-encoding", b"gzip")], gzip.compress(b" " * (BOUNDS.plain_bytes + 1)), "body_too_large"),
        ([], b" " * (BOUNDS.plain_bytes + 1), "body_too_large"),
        ([], encoded([cloudevent()] * 10_001), "body_too_large"),
    ],
)
def test_a_record_that_holds_no_usage_at_all_is_refused_by_name(
    headers: RawHeaders, value: bytes | None, code: str
) -> None:
    assert code_of(headers, value) == code


@pytest.mark.parametrize("name", ["ce_subject", "CE_Subject", "content-type"])
def test_a_record_that_says_a_header_twice_is_refused(name: str) -> None:
    headers = [
        ("content-type", b"application/json"),
        *((f"ce_{field}", str(value).encode()) for field, value in cloudevent().items() if field != "data"),
        (name, BOB.encode()),
    ]
    with pytest.raises(Rejected, match="say the same"):
        read_events(intake(), headers, b"{}")


@pytest.mark.parametrize("headers", [[], [("content-type", b"application/x-protobuf")]])
def test_spans_in_protobuf_are_the_spans_of_http(headers: RawHeaders) -> None:
    body = export([graphql_span()]).SerializeToString()
    taken = read_spans(intake(), headers, body)
    assert taken.events == intake().spans(from_protobuf(body)).events
    assert len(taken.events) == 1


@pytest.mark.parametrize("headers", [[], [("content-type", b"application/json")]])
def test_spans_in_json_are_the_spans_in_protobuf(headers: RawHeaders) -> None:
    protobuf = read_spans(intake(), [], export([graphql_span()]).SerializeToString())
    assert read_spans(intake(), headers, encoded(SPANS_JSON)).events == protobuf.events


@pytest.mark.parametrize(
    ("headers", "value", "code"),
    [
        ([], None, "bad_body"),
        ([], b"\xff\xff", "bad_body"),
        ([], b'{"resourceSpans": 1}', "bad_body"),
        ([("content-type", b"application/json")], b"\n\x00", "bad_body"),
        ([("content-type", b"application/octet-stream")], b"", "unsupported_media"),
    ],
)
def test_a_record_that_holds_no_spans_is_refused_by_name(headers: RawHeaders, value: bytes | None, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_spans(intake(), headers, value)
    assert refused.value.code == code


def test_an_event_without_a_time_is_stamped_with_when_its_record_was_appended_whenever_it_is_read() -> None:
    value = encoded(cloudevent(time=None))
    first = intake(came_us=NOON_US, now_us=NOON_US + SECOND_US)
    again = replace(first, now_us=NOON_US + 60 * MINUTE_US)

    [one], [same] = read_events(first, [], value).events, read_events(again, [], value).events

    assert one == same
    assert (one.time_us, one.time_stamped) == (NOON_US, True)


@pytest.mark.parametrize(
    ("time", "came_us", "now_us", "reason"),
    [
        ("2025-11-24T16:14:00Z", NOON_US, NOON_US + 60 * MINUTE_US, None),
        ("2025-11-24T16:16:00Z", NOON_US, NOON_US + 60 * MINUTE_US, "too_far_ahead"),
        ("2025-11-24T16:00:00Z", NOON_US, NOON_US + PAST_US, None),
        ("2025-11-24T16:00:00Z", NOON_US, NOON_US + PAST_US + 1, "too_old"),
        (None, NOON_US, NOON_US + PAST_US + 1, "too_old"),
        (None, NOON_US + 16 * MINUTE_US, NOON_US, "too_far_ahead"),
    ],
)
def test_how_far_ahead_is_told_by_when_it_came_and_how_old_by_the_clock(
    time: str | None, came_us: int, now_us: int, reason: str | None
) -> None:
    taken = read_events(intake(came_us=came_us, now_us=now_us), [], encoded(cloudevent(time=time)))
    assert [one.reason for one in taken.verdicts] == [reason]


def test_a_record_of_which_all_was_taken_has_no_refusal() -> None:
    assert refusal_of(read_events(intake(), [], encoded(cloudevent()))) is None


def test_a_batch_has_one_refusal_that_names_every_reason_and_the_events() -> None:
    documents = [cloudevent("1"), cloudevent("2", subject=BOB), cloudevent("3", id=""), cloudevent("4", subject=BOB)]
    taken = read_events(intake(), [], encoded(documents))

    refusal = refusal_of(taken)

    assert [event.id for event in taken.events] == ["1"]
    assert refusal is not None
    assert refusal.reason == SEVERAL
    assert refusal.cause.startswith("3 of 4 refused: wrong_tenant (event 2): ")
    assert "bad_event (event ): " in refusal.cause


def test_a_refusal_stays_short_however_much_is_refused() -> None:
    taken = read_events(intake(), [], encoded([cloudevent(str(n), subject=BOB) for n in range(100)]))
    refusal = refusal_of(taken)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "wrong_tenant"
    assert refusal.cause.endswith(f"and {100 - MAX_REASONS} more")


@st.composite
def three_ways(draw: st.DrawFn) -> tuple[list[dict[str, object]], list[tuple[str, list[dict[str, object]]]]]:
    """Events, and deliveries of them: each event at least once, over any way, in any order and company."""
    documents = [
        cloudevent(str(number), data={"maestro.ingest.events": draw(st.integers(0, 10**6))})
        for number in range(draw(st.integers(1, 8)))
    ]
    lots = [[one] for one in documents] + draw(st.lists(st.lists(st.sampled_from(documents), min_size=1), max_size=6))
    ways = [draw(st.sampled_from(["http", "binary", "structured", "batch"])) for _ in lots]
    return documents, draw(st.permutations(list(zip(ways, lots, strict=True))))


def taken_by(way: str, lot: list[dict[str, object]]) -> Taken:
    if way == "http":
        return intake().cloudevents(lot)
    if way == "batch":
        return read_events(intake(), BATCH, encoded(lot))
    record = binary(lot[0]) if way == "binary" else (STRUCTURED, encoded(lot[0]))
    return read_events(intake(), *record)


@given(three_ways())
def test_whatever_way_order_and_repetition_the_same_events_arrive(
    given_: tuple[list[dict[str, object]], list[tuple[str, list[dict[str, object]]]]],
) -> None:
    documents, deliveries = given_
    arrived = {event.key: event for way, lot in deliveries for event in taken_by(way, lot).events}
    copies = [event for way, lot in deliveries for event in taken_by(way, lot).events]
    assert arrived == {event.key: event for event in over_http(*documents)}
    assert all(arrived[copy.key].digest == copy.digest for copy in copies)
