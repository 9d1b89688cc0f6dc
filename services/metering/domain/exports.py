"""The answer to an OTLP export, in the encoding of the request: what was rejected, and why.

Source: OTLP specification, sections "Partial Success" and "JSON Protobuf Encoding" (64-bit numbers are text there).
"""

from __future__ import annotations

from typing import Final

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from services.metering.domain.intake import Taken

MAX_REASONS: Final = 5  # enough to see what is wrong; a batch that is wholly wrong is wrong for one reason


def export_answer(taken: Taken, *, as_json: bool) -> bytes:
    """Return the body of an ExportTraceServiceResponse; without rejections it has no partial success."""
    rejected = taken.rejected
    if as_json:
        partial = {"rejectedSpans": str(len(rejected)), "errorMessage": reasons_of(taken, "span")}
        return msgspec.json.encode({"partialSuccess": partial} if rejected else {})
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = len(rejected)
        response.partial_success.error_message = reasons_of(taken, "span")
    return response.SerializeToString()


def reasons_of(taken: Taken, noun: str) -> str:
    """Return the first reasons in words, each with the id of its event, called `noun`."""
    shown = [f"{one.reason} ({noun} {one.id}): {one.detail}" for one in taken.rejected[:MAX_REASONS]]
    more = len(taken.rejected) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
