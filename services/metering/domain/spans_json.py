"""The JSON encoding of OTLP: camel case, ids in hex, 64-bit numbers as text or number.

Source: OTLP specification, section "JSON Protobuf Encoding". Unknown fields are ignored, as it asks.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

import msgspec

from services.metering.domain.bodies import decimal_or_text, require_strict
from services.metering.domain.spans import (
    UNNAMED_SERVICE,
    Origin,
    Pairs,
    Span,
    deeper,
    exact_double,
    members,
    origin_of,
)
from services.metering.errors import BadBody, BadSpan

Number = str | int


class _Fields(msgspec.Struct, rename="camel", gc=False):
    """What all parts share: camel case names."""


class _KeyValue(_Fields):
    key: str
    value: msgspec.Raw = msgspec.Raw(b"null")


class _Span(_Fields):
    trace_id: str = ""
    span_id: str = ""
    name: str = ""
    kind: int = 0
    start_time_unix_nano: Number = 0
    end_time_unix_nano: Number = 0
    attributes: list[_KeyValue] | None = None


class _ScopeSpans(_Fields):
    spans: list[_Span] | None = None


class _Resource(_Fields):
    attributes: list[_KeyValue] | None = None


class _ResourceSpans(_Fields):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _Request(_Fields):
    resource_spans: list[_ResourceSpans] | None = None


_REQUEST: Final = msgspec.json.Decoder(_Request)
_VALUE: Final = msgspec.json.Decoder(float_hook=decimal_or_text)


def from_json(body: bytes) -> Iterator[Span]:
    """Yield the spans of a request in OTLP's JSON; raise BadBody where it is none, BodyTooLarge past BOUNDS."""
    require_strict(body)
    try:
        request = _REQUEST.decode(body)
        for of_resource in request.resource_spans or ():
            origin = _origin(of_resource.resource or _Resource())
            for of_scope in of_resource.scope_spans or ():
                for span in of_scope.spans or ():
                    yield _read(origin, span)
    except (ValueError, OverflowError, RecursionError) as error:  # msgspec's and binascii's are ValueErrors
        raise BadBody(f"the body is not OTLP JSON: {error}") from error


def _origin(resource: _Resource) -> Origin:
    try:
        return origin_of(_pairs(resource.attributes))
    except BadSpan as refused:
        return Origin(UNNAMED_SERVICE, [], refused.detail)


def _read(origin: Origin, span: _Span) -> Span:
    pairs, unreadable = _readable(span)
    return Span(
        origin,
        span.name,
        span.kind,
        binascii.unhexlify(span.trace_id),
        binascii.unhexlify(span.span_id),
        int(span.start_time_unix_nano),
        int(span.end_time_unix_nano),
        pairs,
        unreadable,
    )


def _readable(span: _Span) -> tuple[Pairs, str | None]:
    try:
        return _pairs(span.attributes), None
    except BadSpan as refused:
        return [], refused.detail


def _pairs(attributes: list[_KeyValue] | None) -> Pairs:
    return [(one.key, _value(_VALUE.decode(one.value), 0)) for one in attributes or ()]


def _value(value: object, depth: int) -> object:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > 1:
        raise BadBody('a value is an object with one field, such as {"stringValue": "a"}')
    for field, content in value.items():
        read = _READERS.get(field)
        if read is not None:
            return read(content, depth)
    return None


def _text(content: object, _: int) -> object:
    if not isinstance(content, str):
        raise BadBody("`stringValue` and `bytesValue` are text")
    return content


def _flag(content: object, _: int) -> object:
    if not isinstance(content, bool):
        raise BadBody("`boolValue` is true or false")
    return content


def _whole(content: object, _: int) -> object:
    if isinstance(content, bool) or not isinstance(content, str | int):
        raise BadBody("`intValue` is an integer, as a number or as text")
    return int(content)


def _double(content: object, _: int) -> object:
    if isinstance(content, bool) or not isinstance(content, str | int | Decimal):
        raise BadBody("`doubleValue` is a number")
    return exact_double(float(content))


def _array(content: object, depth: int) -> object:
    within = deeper(depth)
    return [_value(one, within) for one in _members(content)]


def _fields(content: object, depth: int) -> object:
    within = deeper(depth)
    fields = [one for one in _members(content) if isinstance(one, dict)]
    return members([(str(one.get("key", "")), _value(one.get("value"), within)) for one in fields])


def _members(content: object) -> list[object]:
    values = content.get("values", []) if isinstance(content, dict) else None
    if not isinstance(values, list):
        raise BadBody("`arrayValue` and `kvlistValue` hold a list called `values`")
    return values


_READERS: Final[dict[str, Callable[[object, int], object]]] = {
    "stringValue": _text,
    "boolValue": _flag,
    "intValue": _whole,
    "doubleValue": _double,
    "arrayValue": _array,
    "kvlistValue": _fields,
    "bytesValue": _text,
}
