"""Spans as the edge reads them, whatever encoding they came in: the parts that usage needs, nothing else.

Source: OpenTelemetry protocol (OTLP) 1.x, opentelemetry/proto/trace/v1/trace.proto.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from services.metering.domain.bounds import BOUNDS, Budget
from services.metering.domain.wire import Place, Walk
from services.metering.errors import BadBody, BadSpan

Pairs = list[tuple[str, object]]
T = TypeVar("T", bound=Message)

OURS: Final = "maestro."
SERVICE_NAME: Final = "service.name"
UNNAMED_SERVICE: Final = "unknown_service"  # what the OpenTelemetry resource conventions say where none is named

# Fields of ExportTraceServiceRequest, ResourceSpans and ScopeSpans.
_RESOURCE_SPANS: Final = 1
_RESOURCE: Final = 1
_SCOPE_SPANS: Final = 2
_SPANS: Final = 2


@dataclass(frozen=True, slots=True)
class Origin:
    """What the spans of one resource share: the service's name and the resource's `maestro.*` attributes.

    `unreadable` says why its spans are not read where its attributes cannot be.
    """

    service: str
    attributes: Pairs
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are raw bytes, times nanoseconds since 1970, `kind` the number of OTLP.

    `unreadable` says why it is rejected where its attributes, or all of it, cannot be read.
    """

    origin: Origin
    name: str
    kind: int
    trace_id: bytes
    span_id: bytes
    start_ns: int
    end_ns: int
    attributes: Pairs
    unreadable: str | None = None


def origin_of(pairs: Pairs) -> Origin:
    """Return what the spans of a resource with these attributes share."""
    service = next((value for name, value in pairs if name == SERVICE_NAME), None)
    named = service if isinstance(service, str) and service else UNNAMED_SERVICE
    return Origin(named, [(name, value) for name, value in pairs if name.startswith(OURS)])


def exact_double(value: float) -> object:
    """Return the number that a sender wrote as a double: its shortest decimal text, exactly; text if not finite."""
    text = repr(value)
    return text if text.lstrip("-") in {"nan", "inf"} else Decimal(text)


def members(pairs: Pairs) -> dict[str, object]:
    """Return the fields of a map; raise BadSpan where two claim one name."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise BadSpan("two fields of a map in an attribute claim one name")
    return fields


def deeper(depth: int) -> int:
    """Return the depth of what an array or a map at `depth` holds; raise BadSpan past the bound."""
    if depth >= BOUNDS.value_depth:
        raise BadSpan(f"the arrays and maps of an attribute nest at most {BOUNDS.value_depth} deep")
    return depth + 1


def from_protobuf(body: bytes) -> Iterator[Span]:
    """Yield the spans of an ExportTraceServiceRequest; raise BadBody where it is none, BodyTooLarge past BOUNDS.

    The request is walked, and its spans are decoded one by one: the memory that a body takes is one span's.
    """
    walk, read = Walk(body), _Reader(body, Budget(BOUNDS.values, "attributes"))
    for of_resource in walk.parts((0, len(body)), _RESOURCE_SPANS):
        origin = read.origin(walk.joined(of_resource, _RESOURCE))
        for of_scope in walk.parts(of_resource, _SCOPE_SPANS):
            for place in walk.parts(of_scope, _SPANS):
                yield read.span(origin, place)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Decodes the parts of one request."""

    body: bytes
    values: Budget

    def origin(self, resource: bytes) -> Origin:
        if len(resource) > BOUNDS.part_bytes:
            return Origin(UNNAMED_SERVICE, [], f"its resource has more than {BOUNDS.part_bytes} bytes")
        try:
            return origin_of(self._pairs(_parsed(Resource, resource).attributes))
        except BadSpan as refused:
            return Origin(UNNAMED_SERVICE, [], refused.detail)

    def span(self, origin: Origin, place: Place) -> Span:
        start, end = place
        if end - start > BOUNDS.part_bytes:
            return Span(origin, "", 0, b"", b"", 0, 0, [], f"a span has at most {BOUNDS.part_bytes} bytes")
        span = _parsed(OtlpSpan, self.body[start:end])
        pairs, unreadable = self._readable(span)
        return Span(
            origin,
            span.name,
            span.kind,
            span.trace_id,
            span.span_id,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            pairs,
            unreadable,
        )

    def _readable(self, span: OtlpSpan) -> tuple[Pairs, str | None]:
        try:
            return self._pairs(span.attributes), None
        except BadSpan as refused:
            return [], refused.detail

    def _pairs(self, attributes: Sequence[KeyValue], depth: int = 0) -> Pairs:
        self.values.take(len(attributes))
        return [(one.key, self._value(one.value, depth)) for one in attributes]

    def _value(self, value: AnyValue, depth: int) -> object:
        kind = value.WhichOneof("value")
        if kind is None:
            return None
        if kind == "double_value":
            return exact_double(value.double_value)
        if kind == "array_value":
            self.values.take(len(value.array_value.values))
            within = deeper(depth)
            return [self._value(one, within) for one in value.array_value.values]
        if kind == "kvlist_value":
            return members(self._pairs(value.kvlist_value.values, deeper(depth)))
        if kind == "bytes_value":
            return base64.b64encode(value.bytes_value).decode("ascii")
        return getattr(value, kind)


def _parsed(kind: type[T], part: bytes) -> T:
    try:
        return kind.FromString(part)
    except (DecodeError, RecursionError) as error:
        raise BadBody(f"the body is not an ExportTraceServiceRequest: {error}") from error
