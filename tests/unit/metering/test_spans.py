from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from services.metering.domain.bounds import BOUNDS
from services.metering.domain.intake import Taken
from services.metering.domain.spans import Span, from_protobuf
from services.metering.domain.spans_json import from_json
from services.metering.errors import BadBody, BodyTooLarge
from tests.support.metering import ALICE, BOB, NOON_US, SECOND_US, export, graphql_span, intake, key_value

NAMES = (("service.name", "gateway"), ("maestro.tenant.id", ALICE))


def take(*spans: OtlpSpan, **resource: object) -> Taken:
    return intake().spans(from_protobuf(export(spans, **resource).SerializeToString()))


def reason(**changes: object) -> str | None:
    [verdict] = take(graphql_span(**changes)).verdicts  # type: ignore[arg-type]
    return verdict.reason


def test_a_graphql_span_is_one_event_of_its_end() -> None:
    [event] = take(graphql_span(7)).events
    assert event.source == "otel/gateway"
    assert event.id == f"{7:032x}{7:016x}"
    assert (event.tenant_id, event.type, event.time_us) == (ALICE, "POST /graphql", NOON_US)


def test_a_span_that_no_meter_looks_at_is_counted_and_left_out() -> None:
    plain = graphql_span(1, attributes={"graphql.operation.type": None})
    client = graphql_span(2, kind=OtlpSpan.SPAN_KIND_CLIENT)
    taken = take(plain, client, graphql_span(3))
    assert taken.unmetered_count == 2
    assert len(taken.events) == len(taken.verdicts) == 1


def test_a_span_that_is_not_usage_needs_no_tenant() -> None:
    taken = take(graphql_span(attributes={"graphql.operation.type": None, "maestro.tenant.id": BOB}))
    assert (taken.unmetered_count, taken.rejected) == (1, [])


@pytest.mark.parametrize("named", [BOB, "someone", None])
def test_a_span_for_a_tenant_that_the_sender_may_not_name_is_rejected(named: str | None) -> None:
    assert reason(attributes={"maestro.tenant.id": named}) == "wrong_tenant"


def test_the_resource_names_the_tenant_where_the_span_does_not() -> None:
    taken = take(graphql_span(attributes={"maestro.tenant.id": None}), maestro_tenant_id=ALICE)
    assert [event.tenant_id for event in taken.events] == [ALICE]


def test_the_span_goes_before_the_resource() -> None:
    taken = take(graphql_span(attributes={"maestro.tenant.id": BOB}), maestro_tenant_id=ALICE)
    assert [verdict.reason for verdict in taken.rejected] == ["wrong_tenant"]


def test_a_service_without_a_name_has_the_conventional_one() -> None:
    [event] = take(graphql_span(), service_name="").events
    assert event.source == "otel/unknown_service"


@pytest.mark.parametrize(
    "changes",
    [
        {"trace_id": b""},
        {"span_id": bytes(8)},
        {"span_id": b"short"},
        {"end_time_unix_nano": 0},
        {"end_time_unix_nano": (NOON_US - 2 * SECOND_US) * 1000},
    ],
)
def test_a_span_without_ids_or_times_is_rejected(changes: dict[str, object]) -> None:
    assert reason(**changes) == "bad_span"


def test_a_span_from_the_future_is_rejected() -> None:
    assert reason(end_time_unix_nano=(NOON_US + 3600 * SECOND_US) * 1000) == "too_far_ahead"


@pytest.mark.parametrize(
    ("written", "counted"), [(5, 5), ("5", "5"), (0.1, "0.1"), (1e-12, "0.000000000001"), (5.0, 5)]
)
def test_numbers_of_spans_are_taken_as_they_were_written(written: object, counted: object) -> None:
    [event] = take(graphql_span(attributes={"maestro.ingest.events": written})).events
    assert event.attributes["maestro.ingest.events"] == counted


@pytest.mark.parametrize("written", [float("nan"), float("inf"), float("-inf")])
def test_a_span_whose_only_number_is_not_finite_is_rejected(written: float) -> None:
    only = {"graphql.operation.type": None, "maestro.ingest.events": written}
    assert reason(attributes=only) == "bad_number"


def in_json(*spans: dict[str, object]) -> bytes:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "gateway"}}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}).encode()


def json_span(**changes: object) -> dict[str, object]:
    values: dict[str, dict[str, object]] = {
        "graphql.operation.type": {"stringValue": "query"},
        "maestro.tenant.id": {"stringValue": ALICE},
        "maestro.ingest.events": {"intValue": "9007199254740993"},
        "flag": {"boolValue": True},
        "share": {"doubleValue": 0.1},
        "list": {"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "a"}]}},
        "map": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "2"}}]}},
        "raw": {"bytesValue": "AAE="},
        "none": {},
    }
    span: dict[str, object] = {
        "traceId": f"{7:032X}",
        "spanId": f"{7:016x}",
        "name": "POST /graphql",
        "kind": 2,
        "startTimeUnixNano": str((NOON_US - SECOND_US) * 1000),
        "endTimeUnixNano": NOON_US * 1000,
        "attributes": [{"key": name, "value": value} for name, value in values.items()],
        "somethingNew": {"deep": [1, 2]},
    }
    return span | changes


def protobuf_twin() -> OtlpSpan:
    span = graphql_span(7, attributes={"maestro.ingest.events": 2**53 + 1, "flag": True, "share": 0.1})
    for name, fill in (
        ("list", lambda value: value.array_value.values.extend([_any(int_value=1), _any(string_value="a")])),
        ("map", lambda value: value.kvlist_value.values.add(key="k", value=_any(int_value=2))),
        ("raw", lambda value: setattr(value, "bytes_value", b"\x00\x01")),
        ("none", lambda value: value.Clear()),
    ):
        fill(span.attributes.add(key=name).value)
    return span


def _any(**value: Any) -> AnyValue:
    return AnyValue(**value)


def test_json_and_protobuf_of_one_span_are_the_same_event() -> None:
    from_text = intake().spans(from_json(in_json(json_span())))
    from_binary = take(protobuf_twin())
    assert from_text.events == from_binary.events
    assert len(from_text.events) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"resourceSpans": {}}',
        b"[" * 100_000,
        b'{"resourceSpans":' * 1000,
        in_json(json_span(traceId="xyz")),
        in_json(json_span(endTimeUnixNano="soon")),
        in_json(json_span(endTimeUnixNano="9" * 5000)),
        in_json(json_span(attributes=[{"key": "a", "value": {"intValue": "1.5"}}])),
        in_json(json_span(attributes=[{"key": "a", "value": {"intValue": 1, "stringValue": "b"}}])),
        in_json(json_span(attributes=[{"key": "a", "value": {"arrayValue": 3}}])),
        in_json(json_span(attributes=[{"value": {"intValue": 1}}])),
        in_json(json_span(attributes=[{"key": "a", "value": {"doubleValue": "much"}}])),
        in_json(json_span()).replace(b'"kind": 2', b'"kind": 2, "kind": 2'),
        in_json(json_span()).replace(b'"kind": 2', b'"kind": NaN'),
    ],
)
def test_a_body_that_is_no_otlp_json_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(BadBody):
        list(from_json(body))


def test_an_empty_request_holds_nothing() -> None:
    assert list(from_json(b"{}")) == []
    assert list(from_protobuf(b"")) == []


def field(number: int, content: bytes) -> bytes:
    """One length-delimited field in protobuf's wire format."""
    size, length = len(content), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def nested(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = field(5, field(1, value))
    attribute = field(1, b"deep") + field(2, value)
    span = graphql_span().SerializeToString() + field(9, attribute)
    return field(1, field(2, field(2, span)))


def nested_in_json(depth: int) -> bytes:
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    attributes = [
        {"key": "graphql.operation.type", "value": {"stringValue": "query"}},
        {"key": "maestro.tenant.id", "value": {"stringValue": ALICE}},
        {"key": "deep", "value": value},
    ]
    return in_json(json_span(attributes=attributes))


BOTH = pytest.mark.parametrize(("decode", "make"), [(from_protobuf, nested), (from_json, nested_in_json)])
Decode = Callable[[bytes], Iterator[Span]]


@BOTH
def test_values_nested_within_reason_are_taken(decode: Decode, make: Callable[[int], bytes]) -> None:
    [event] = intake().spans(decode(make(BOUNDS.value_depth))).events
    assert event.attributes["deep"] == "[" * BOUNDS.value_depth + "null" + "]" * BOUNDS.value_depth


@BOTH
def test_values_nested_deeper_reject_their_span_alone(decode: Decode, make: Callable[[int], bytes]) -> None:
    [verdict] = intake().spans(decode(make(BOUNDS.value_depth + 1))).verdicts
    assert (verdict.reason, "nest" in (verdict.detail or "")) == ("bad_span", True)


@BOTH
def test_values_nested_without_end_are_refused_not_fatal(decode: Decode, make: Callable[[int], bytes]) -> None:
    with pytest.raises(BadBody):
        list(decode(make(200)))


def test_a_map_that_says_a_name_twice_rejects_its_span_in_both_encodings() -> None:
    twin = protobuf_twin()
    twice = [{"key": "k", "value": {"intValue": 1}}, {"key": "k", "value": {"intValue": 2}}]
    twin.attributes.add(key="m").value.kvlist_value.values.extend([KeyValue(key="k"), KeyValue(key="k")])
    in_text = in_json(json_span(attributes=[{"key": "m", "value": {"kvlistValue": {"values": twice}}}]))
    for taken in (take(twin), intake().spans(from_json(in_text))):
        assert [verdict.reason for verdict in taken.verdicts] == ["bad_span"]


def test_an_oversized_span_is_rejected_and_its_neighbours_are_taken() -> None:
    taken = take(graphql_span(1), graphql_span(2, attributes={"text": "x" * BOUNDS.part_bytes}), graphql_span(3))
    assert [verdict.reason for verdict in taken.verdicts] == [None, "bad_span", None]
    assert len(taken.events) == 2


def test_an_oversized_resource_rejects_its_own_spans() -> None:
    large, small = export([graphql_span(1)], text="x" * BOUNDS.part_bytes), export([graphql_span(2)])
    taken = intake().spans(from_protobuf(large.SerializeToString() + small.SerializeToString()))
    assert [verdict.reason for verdict in taken.verdicts] == ["bad_span", None]


def test_a_resource_that_is_said_in_two_parts_is_one() -> None:
    resource = [field(1, field(1, key_value(*pair).SerializeToString())) for pair in NAMES]
    scope = field(2, field(2, graphql_span(attributes={"maestro.tenant.id": None}).SerializeToString()))
    [event] = intake().spans(from_protobuf(field(1, resource[0] + scope + resource[1]))).events
    assert (event.source, event.tenant_id) == ("otel/gateway", ALICE)


@pytest.mark.parametrize(
    "body",
    [
        field(2, b"") * (BOUNDS.parts + 1),
        field(1, b"") * (BOUNDS.parts + 1),
        field(1, field(2, b"") * (BOUNDS.parts + 1)),
        field(1, field(2, field(2, b"") * (BOUNDS.events + 1))),
        field(1, b"\x18\x01" * (BOUNDS.parts + 1)),
        field(1, field(2, field(2, field(9, b"") * (BOUNDS.part_bytes // 2 - 1)) * 3)),
        field(1, field(1, field(1, b"") * (BOUNDS.part_bytes // 2 - 1)) + b"") * 3,
    ],
    ids=["unknown fields", "resources", "scopes", "spans", "numbers", "attributes", "resource attributes"],
)
def test_a_body_of_endless_parts_is_refused_while_it_is_walked(body: bytes) -> None:
    with pytest.raises(BodyTooLarge):
        intake().spans(from_protobuf(body))


@pytest.mark.parametrize(
    "body",
    [b"\x0a", b"\x0a\x05abc", b"\x0a\x80", b"\x0b", b"\x02\x00", b"\x09\x00", b"\x0d\x00", b"\x08" + b"\xff" * 11],
)
def test_a_damaged_frame_of_a_request_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        list(from_protobuf(body))


@given(st.lists(st.lists(st.lists(st.integers(1, 2**40), max_size=3), max_size=3), max_size=3))
def test_the_walk_finds_what_the_whole_decoder_finds(resources: list[list[list[int]]]) -> None:
    request = ExportTraceServiceRequest()
    for scopes in resources:
        of_resource = request.resource_spans.add(schema_url="https://example.com")
        for numbers in scopes:
            of_resource.scope_spans.add().spans.extend(graphql_span(number) for number in numbers)
    whole = [span.span_id for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]
    assert [span.span_id for span in from_protobuf(request.SerializeToString())] == whole


@given(st.binary(max_size=200))
def test_any_bytes_give_spans_or_a_refusal(body: bytes) -> None:
    for decode in (from_protobuf, from_json):
        try:
            intake().spans(decode(body))
        except BadBody:
            continue


@given(st.data())
def test_a_damaged_request_gives_spans_or_a_refusal(data: st.DataObject) -> None:
    body = bytearray(export([protobuf_twin()]).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        intake().spans(from_protobuf(bytes(body)))
    except BadBody:
        return


def two_in_json(**changes: object) -> Taken:
    span = {
        "traceId": f"{1:032x}",
        "spanId": f"{1:016x}",
        "kind": 2,
        "endTimeUnixNano": str(NOON_US * 1000),
        "attributes": [
            {"key": "graphql.operation.type", "value": {"stringValue": "query"}},
            {"key": "maestro.tenant.id", "value": {"stringValue": ALICE}},
        ],
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span | changes, span]}]}]})
    return intake().spans(from_json(body.replace('"huge"', "1e99999999999999999999").encode()))


def test_an_end_of_endless_digits_costs_its_span_only() -> None:
    assert [one.reason for one in two_in_json(endTimeUnixNano="9" * 4000).verdicts] == ["too_far_ahead", None]


def test_a_double_beyond_all_exponents_costs_no_other_span() -> None:
    taken = two_in_json(attributes=[{"key": "graphql.operation.type", "value": {"doubleValue": "huge"}}])
    assert len(taken.verdicts) == 2
    assert taken.verdicts[1].reason is None


def test_ids_of_only_zeros_are_rejected() -> None:
    assert reason(trace_id=bytes(16)) == "bad_span"
    assert reason(span_id=bytes(8)) == "bad_span"
