"""Spans as the edge reads them, whatever encoding they came in: the parts that usage needs, nothing else.

Source: OpenTelemetry protocol (OTLP) 1.x, opentelemetry/proto/trace/v1/trace.proto.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from services.metering.errors import BadBody

Pairs = list[tuple[str, object]]

OURS: Final = "maestro."
SERVICE_NAME: Final = "service.name"
UNNAMED_SERVICE: Final = "unknown_service"  # what the OpenTelemetry resource conventions say where none is named


@dataclass(frozen=True, slots=True)
class Origin:
    """What the spans of one resource share: the service's name and the resource's `maestro.*` attributes."""

    service: str
    attributes: Pairs


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are raw bytes, times nanoseconds since 1970, `kind` the number of OTLP."""

    origin: Origin
    name: str
    kind: int
    trace_id: bytes
    span_id: bytes
    start_ns: int
    end_ns: int
    attributes: Pairs


def origin_of(pairs: Pairs) -> Origin:
    """Return what the spans of a resource with these attributes share."""
    service = next((value for name, value in pairs if name == SERVICE_NAME), None)
    named = service if isinstance(service, str) and service else UNNAMED_SERVICE
    return Origin(named, [(name, value) for name, value in pairs if name.startswith(OURS)])


def exact_double(value: float) -> object:
    """Return the number that a sender wrote as a double: its shortest decimal text, exactly; text if not finite."""
    text = repr(value)
    return text if text.lstrip("-") in {"nan", "inf"} else Decimal(text)


def from_protobuf(body: bytes) -> Iterator[Span]:
    """Yield the spans of an ExportTraceServiceRequest; raise BadBody where it is none."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except (DecodeError, RecursionError) as error:
        raise BadBody(f"the body is not an ExportTraceServiceRequest: {error}") from error
    for of_resource in request.resource_spans:
        origin = origin_of(_pairs(of_resource.resource.attributes))
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    origin,
                    span.name,
                    span.kind,
                    span.trace_id,
                    span.span_id,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _pairs(span.attributes),
                )


def _pairs(attributes: Iterable[KeyValue]) -> Pairs:
    return [(one.key, _value(one.value)) for one in attributes]


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "double_value":
        return exact_double(value.double_value)
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: _value(one.value) for one in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    return getattr(value, kind)
