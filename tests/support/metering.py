"""Ready-made parts for metering's tests: meters, fingerprints, events, spans in both encodings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from libs.runtime.errors import Rejected
from services.metering.domain.events import Attributes, Kind, UsageEvent
from services.metering.domain.identity import Fingerprints
from services.metering.domain.intake import Intake
from services.metering.domain.meters import Meters, meters_of
from services.metering.domain.versions import SINCE_EVER, MeterBook, MeterVersion

ALICE = "tnt_aaaaaaaaaaaaaaaaaaaa"
BOB = "tnt_bbbbbbbbbbbbbbbbbbbb"
NOON_US = 1_764_000_000_000_000  # 2025-11-24T16:00:00Z, on a window's start
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
QUARTER_US = 15 * MINUTE_US
SECRET = bytes(range(32))


@cache
def shipped_meters() -> Meters:
    return meters_of((Path(__file__).parents[2] / "services/metering/meters.yaml").read_text("utf-8"))


def default_meters() -> MeterBook:
    return MeterBook([MeterVersion(document, SINCE_EVER) for document in shipped_meters().documents()])


def fingerprints() -> Fingerprints:
    return Fingerprints(SECRET)


def usage(
    event_id: str = "1",
    *,
    tenant_id: str = ALICE,
    source: str = "test",
    time_us: int = NOON_US,
    kind: Kind = Kind.CLOUDEVENT,
    event_type: str = "ingest",
    **attributes: str | int,
) -> UsageEvent:
    """An event; underscores in attribute names stand for points, with `maestro.` put before."""
    named: Attributes = {"maestro." + name.replace("_", "."): value for name, value in attributes.items()}
    marks = fingerprints()
    return UsageEvent(
        key=marks.key(tenant_id, source, event_id),
        digest=marks.body(event_type, kind, time_us, named),
        tenant_id=tenant_id,
        source=source,
        id=event_id,
        type=event_type,
        kind=kind,
        time_us=time_us,
        time_stamped=False,
        attributes=named,
    )


def acting_for(*tenants: str) -> Callable[[str | None], str]:
    """What an edge key allows: any of these, and one must be named."""

    def tenant_of(named: str | None) -> str:
        if named not in tenants:
            raise Rejected("not one of the key's tenants")
        assert named is not None
        return named

    return tenant_of


def intake(
    *tenants: str,
    now_us: int = NOON_US,
    came_us: int | None = None,
    meters: Meters | None = None,
    may_leave_out: bool = True,
) -> Intake:
    came_us = now_us if came_us is None else came_us
    tenant_of = acting_for(*(tenants or (ALICE,)))
    return Intake(fingerprints(), meters or default_meters(), tenant_of, now_us, came_us, may_leave_out)


def cloudevent(event_id: str = "1", **changes: Any) -> dict[str, object]:
    document: dict[str, object] = {
        "specversion": "1.0",
        "id": event_id,
        "source": "test",
        "type": "ingest",
        "subject": ALICE,
        "time": "2025-11-24T16:00:00Z",
        "data": {"maestro.ingest.events": 5},
    }
    return {name: value for name, value in (document | changes).items() if value is not None}


def key_value(name: str, value: object) -> KeyValue:
    field = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
    held = AnyValue()
    setattr(held, field, value)
    return KeyValue(key=name, value=held)


def graphql_span(number: int = 1, **changes: object) -> Span:
    """A SERVER span of a GraphQL call by ALICE; `attributes` in the changes replace or (None) remove some."""
    attributes: dict[str, object] = {"graphql.operation.type": "query", "maestro.tenant.id": ALICE}
    more = changes.pop("attributes", {})
    assert isinstance(more, dict)
    attributes = {name: value for name, value in (attributes | more).items() if value is not None}
    fields: dict[str, object] = {
        "trace_id": number.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "name": "POST /graphql",
        "kind": Span.SPAN_KIND_SERVER,
        "start_time_unix_nano": (NOON_US - SECOND_US) * 1000,
        "end_time_unix_nano": NOON_US * 1000,
    }
    pairs = [key_value(name, value) for name, value in attributes.items()]
    return Span(attributes=pairs, **(fields | changes))  # type: ignore[arg-type]


def export(spans: Sequence[Span], **resource: object) -> ExportTraceServiceRequest:
    """A request of one resource; underscores in its attribute names stand for points."""
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    named = {"service_name": "gateway"} | resource
    of_resource.resource.attributes.extend(key_value(name.replace("_", "."), value) for name, value in named.items())
    of_resource.scope_spans.add().spans.extend(spans)
    return request


def exported(tenant: str, at: datetime, *numbers: int) -> bytes:
    """A request in protobuf with a GraphQL call of the tenant for each number, all over at `at`."""
    at_ns = int(at.timestamp()) * 10**9
    times = {"start_time_unix_nano": at_ns, "end_time_unix_nano": at_ns}
    named = {"attributes": {"maestro.tenant.id": tenant}}
    return export([graphql_span(number, **times, **named) for number in numbers]).SerializeToString()
