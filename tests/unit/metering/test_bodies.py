from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from services.metering.domain.bodies import json_of, require_strict
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.exports import MAX_REASONS, export_answer
from services.metering.domain.intake import Taken, Verdict
from services.metering.errors import BadBody, BodyTooLarge


def test_numbers_of_json_keep_all_digits() -> None:
    text = b"[9007199254740993, 0.1, 1e-12, 123456789012345678901234567890]"
    assert json_of(text) == [2**53 + 1, Decimal("0.1"), Decimal("1e-12"), 123456789012345678901234567890]


def test_a_number_beyond_all_exponents_stays_the_text_that_was_written() -> None:
    assert json_of(b"[1e99999999999999999999, 1]") == ["1e99999999999999999999", 1]


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b'"\\ud800"', b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadBody):
        json_of(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"data":{"b":{"c":1,"c":2}}}]',
        b'{"data":{},"id":"1","data":{}}',
    ],
)
def test_an_object_that_says_a_name_twice_is_refused(text: bytes) -> None:
    with pytest.raises(BadBody, match="twice"):
        json_of(text)


def test_objects_side_by_side_may_say_the_same_name() -> None:
    assert json_of(b'[{"a":{"a":1}},{"a":2}]') == [{"a": {"a": 1}}, {"a": 2}]


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"[1,]", b"[01]", b"[1] 2", b"[+1]"])
def test_what_only_some_decoders_take_is_refused(text: bytes) -> None:
    with pytest.raises(BadBody):
        json_of(text)


def test_text_that_nests_without_end_is_refused() -> None:
    assert json_of(b"[" * 200 + b"]" * 200)
    with pytest.raises(BadBody):
        json_of(b"[" * 300 + b"]" * 300)


@pytest.mark.parametrize("value", [b"{}", b"[]", b"1", b'""', b'{"a":{}}'])
def test_a_body_of_endless_values_is_refused_before_any_is_made(value: bytes) -> None:
    few = replace(BOUNDS, values=100)
    require_strict(b"[" + b",".join([value] * 25) + b"]", few)
    with pytest.raises(BodyTooLarge, match="100 JSON values"):
        require_strict(b"[" + b",".join([value] * 101) + b"]", few)


def test_commas_and_braces_in_text_are_no_values() -> None:
    few = replace(BOUNDS, values=10)
    require_strict(json.dumps(["query { a, b }" * 100, 'quote " and \\ slash {{{{'] * 2).encode(), few)


# Each has commas or braces past the bound, so that its strings are looked for.
@pytest.mark.parametrize("text", [b'["' + b'\\",' * 500_000, b'",' * 500_001, b'["' + b"{" * 2_000_000])
def test_text_without_an_end_is_refused_in_one_pass(text: bytes) -> None:
    with pytest.raises((BadBody, BodyTooLarge)):
        require_strict(text, replace(BOUNDS, values=0))


def rejected(count: int) -> Taken:
    return Taken(verdicts=[Verdict(0, "s", "ok"), *(Verdict(n, "s", str(n), "bad_span", "why") for n in range(count))])


def test_an_export_that_is_taken_whole_has_an_empty_answer() -> None:
    assert export_answer(rejected(0), as_json=False) == b""
    assert export_answer(rejected(0), as_json=True) == b"{}"


def test_an_export_says_how_many_spans_were_rejected_and_the_first_reasons() -> None:
    partial = ExportTraceServiceResponse.FromString(export_answer(rejected(7), as_json=False)).partial_success
    assert partial.rejected_spans == 7
    assert partial.error_message.count("bad_span") == MAX_REASONS
    assert partial.error_message.endswith("and 2 more")


def test_the_answer_in_json_says_the_same_as_in_protobuf() -> None:
    partial = json.loads(export_answer(rejected(7), as_json=True))["partialSuccess"]
    same = ExportTraceServiceResponse.FromString(export_answer(rejected(7), as_json=False)).partial_success
    assert partial == {"rejectedSpans": str(same.rejected_spans), "errorMessage": same.error_message}
