from __future__ import annotations

import gzip
import json
from decimal import Decimal

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from services.metering.domain import bodies
from services.metering.domain.bodies import inflate, json_of
from services.metering.domain.exports import MAX_REASONS, export_answer
from services.metering.domain.intake import Taken, Verdict
from services.metering.errors import BadBody, BodyTooLarge, UnsupportedMedia


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_plain_body_stays_as_it_is(encoding: str) -> None:
    assert inflate(b"plain", encoding) == b"plain"


def test_gzip_is_inflated() -> None:
    assert inflate(gzip.compress(b"plain"), "gzip") == b"plain"


def test_a_bomb_is_refused_before_it_fills_the_memory() -> None:
    bomb = gzip.compress(bytes(bodies.MAX_INFLATED_BYTES + 1))
    with pytest.raises(BodyTooLarge, match=str(bodies.MAX_INFLATED_BYTES)):
        inflate(bomb, "gzip")


@pytest.mark.parametrize("body", [b"", b"plain", gzip.compress(b"plain")[:-1], gzip.compress(b"plain") + b"more"])
def test_what_is_not_whole_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        inflate(body, "gzip")


def test_another_encoding_is_refused() -> None:
    with pytest.raises(UnsupportedMedia, match="br"):
        inflate(b"", "br")


def test_numbers_of_json_keep_all_digits() -> None:
    text = b"[9007199254740993, 0.1, 1e-12, 123456789012345678901234567890]"
    assert json_of(text) == [2**53 + 1, Decimal("0.1"), Decimal("1e-12"), 123456789012345678901234567890]


def test_a_number_beyond_all_exponents_stays_the_text_that_was_written() -> None:
    assert json_of(b"[1e99999999999999999999, 1]") == ["1e99999999999999999999", 1]


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b'"\\ud800"', b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadBody):
        json_of(text)


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
