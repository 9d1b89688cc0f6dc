"""The bodies that the HTTP edge reads and writes by itself, as its OpenAPI document describes them, by media type."""

from __future__ import annotations

from typing import Any, Final

from libs.schemas import cloudevents

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"

Content = dict[str, dict[str, Any]]

_EXAMPLE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "import-4711",
    "source": "https://shop.example/imports",
    "type": "com.example.shop.imported",
    "subject": "tnt_aaaaaaaaaaaaaaaaaaaa",
    "time": "2026-11-24T10:00:00Z",
    "data": {"maestro.ingest.events": 250},
}
_EVENTS: Final[dict[str, Any]] = {"type": "array", "items": cloudevents.JSON_SCHEMA}
_DATA: Final[dict[str, Any]] = {"description": "the data of the binary mode, whose attributes are `ce-` headers"}
EVENT_BODIES: Final[Content] = {
    cloudevents.STRUCTURED: {"schema": cloudevents.JSON_SCHEMA, "examples": {"one": {"value": _EXAMPLE}}},
    cloudevents.BATCH: {
        "schema": _EVENTS,
        "examples": {"two": {"value": [_EXAMPLE, _EXAMPLE | {"id": "import-4712"}]}},
    },
    JSON: {
        "schema": {"anyOf": [cloudevents.JSON_SCHEMA, _EVENTS, _DATA]},
        "examples": {"one": {"value": _EXAMPLE}, "data of the binary mode": {"value": _EXAMPLE["data"]}},
    },
}

_EXPORT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "ExportTraceServiceRequest in OTLP's JSON encoding",
    "properties": {"resourceSpans": {"type": "array", "items": {"type": "object"}}},
}
_SPAN: Final[dict[str, Any]] = {
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b174",
    "kind": 2,
    "startTimeUnixNano": "1795860000000000000",
    "endTimeUnixNano": "1795860000250000000",
    "attributes": [
        {"key": "maestro.tenant.id", "value": {"stringValue": "tnt_aaaaaaaaaaaaaaaaaaaa"}},
        {"key": "graphql.operation.type", "value": {"stringValue": "query"}},
    ],
}
_BINARY: Final[dict[str, Any]] = {"contentMediaType": PROTOBUF}
SPAN_BODIES: Final[Content] = {
    PROTOBUF: {"schema": {"description": "ExportTraceServiceRequest (OTLP)", **_BINARY}},
    JSON: {
        "schema": _EXPORT,
        "examples": {"one span": {"value": {"resourceSpans": [{"scopeSpans": [{"spans": [_SPAN]}]}]}}},
    },
}
SPAN_ANSWERS: Final[Content] = {
    PROTOBUF: {"schema": {"description": "ExportTraceServiceResponse (OTLP)", **_BINARY}},
    JSON: {
        "schema": {
            "type": "object",
            "properties": {
                "partialSuccess": {
                    "type": "object",
                    "required": ["rejectedSpans", "errorMessage"],
                    "properties": {
                        "rejectedSpans": {"type": "string", "pattern": "^[0-9]+$"},
                        "errorMessage": {"type": "string"},
                    },
                }
            },
        }
    },
}
