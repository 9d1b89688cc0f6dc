"""Spans in another tenant's name, by every trick that an attribute allows. Each would be one `gql_calls`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TENANT = "maestro.tenant.id"
Pairs = Sequence[tuple[str, AnyValue]]


def text(value: str) -> AnyValue:
    """Return a value of text."""
    return AnyValue(string_value=value)


def naming(own: str, other: str) -> list[tuple[Pairs, Pairs]]:
    """Return (span's attributes, resource's attributes) that name `other`, alone, beside or disguised as `own`."""
    mine, yours = text(own), text(other)
    values = [
        yours,
        text(f" {other}"),
        text(f"{other} "),
        text(f"{other}\n"),
        text(other.upper()),
        text(""),
        AnyValue(bytes_value=other.encode()),
        AnyValue(array_value=ArrayValue(values=[yours])),
        AnyValue(array_value=ArrayValue(values=[mine, yours])),
        AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=own, value=yours)])),
        AnyValue(bool_value=True),
        AnyValue(int_value=0),
    ]
    on_spans: list[tuple[Pairs, Pairs]] = [([(TENANT, value)], []) for value in values]
    return [
        *on_spans,
        ([], [(TENANT, yours)]),
        ([], [(TENANT, mine), (TENANT, yours)]),
        ([], [(TENANT, yours), (TENANT, mine)]),
        ([(TENANT, mine), (TENANT, yours)], []),
        ([(TENANT, yours), (TENANT, mine)], []),
        ([(TENANT, mine), (TENANT, mine)], []),
        ([(TENANT, yours)], [(TENANT, mine)]),
    ]


def nobody(other: str) -> list[tuple[Pairs, Pairs]]:
    """Return what names nobody, though it looks as if it named `other`: an edge's key must name somebody."""
    names = ["Maestro.Tenant.Id", f" {TENANT}", f"{TENANT} ", "maestro.tenant_id", "maestro.tenant", "tenant.id"]
    disguised: list[tuple[Pairs, Pairs]] = [([(name, text(other))], []) for name in names]
    return [([], []), ([(TENANT, AnyValue())], []), *disguised]


def forged(tricks: Sequence[tuple[Pairs, Pairs]]) -> ExportTraceServiceRequest:
    """Return one new span for each trick."""
    request, now_ns = ExportTraceServiceRequest(), time.time_ns()
    for on_span, on_resource in tricks:
        of_resource = request.resource_spans.add()
        of_resource.resource.attributes.extend(KeyValue(key=name, value=value) for name, value in on_resource)
        span = of_resource.scope_spans.add().spans.add(
            trace_id=secrets.token_bytes(16),
            span_id=secrets.token_bytes(8),
            name="POST /graphql",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=now_ns,
            end_time_unix_nano=now_ns + 1000,
        )
        span.attributes.add(key="graphql.operation.type").value.string_value = "query"
        span.attributes.extend(KeyValue(key=name, value=value) for name, value in on_span)
    return request
