from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec.structs import replace

from libs.bus.envelope import decode, event_headers, event_message, event_value, meta_of
from libs.bus.records import Message, Record
from libs.runtime.errors import Broken
from libs.runtime.tracing import current_traceparent, span, start_tracing
from libs.schemas.cloudevents import BadEvent
from libs.schemas.events import PlanChanged, TenantChanged
from tests.support.bus import tenant_changed

AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def lying(message: Message) -> Record:
    """The message as it lies on its topic."""
    return Record(message.topic, 0, 0, message.key, message.value, message.headers, 0)


def said(name: str = "Acme") -> Record:
    message = event_message("tenant-changes", tenant_changed(name), key="tenant/1", event_id=UUID(int=7), at=AT)
    return lying(message)


def test_an_event_comes_back_as_it_was_said() -> None:
    received = decode(said(), TenantChanged)

    assert received.data == tenant_changed("Acme")
    assert (received.meta.id, received.meta.time, received.meta.subject) == (str(UUID(int=7)), AT, "tenant/1")
    assert received.meta.source == "https://maestro.example/identity"


def test_the_headers_are_those_of_the_kafka_binding() -> None:
    headers = dict(said().headers)

    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_type"] == b"maestro.tenant.changed.v1"
    assert headers["content-type"] == b"application/json"


def test_an_event_carries_the_trace_that_said_it() -> None:
    start_tracing("test")
    with span("request"):
        expected = current_traceparent()

        assert meta_of(said()).traceparent == expected


def test_outside_a_trace_there_is_no_trace() -> None:
    assert meta_of(said()).traceparent is None


def test_an_event_goes_only_where_the_registry_lets_it() -> None:
    with pytest.raises(Broken, match="not among the types of topic invoices"):
        event_headers("invoices", tenant_changed("x"), key="k")


def test_a_topic_outside_the_registry_is_our_mistake() -> None:
    with pytest.raises(Broken, match="no file in proto/topics"):
        event_headers("nowhere", tenant_changed("x"), key="k")


def test_an_event_that_its_topic_cannot_carry_is_refused_before_it_is_said() -> None:
    large = tenant_changed("x").model_copy(update={"plan_id": "p" * 2_000_000})

    with pytest.raises(Broken, match="split the event"):
        event_value("tenant-changes", large)


@pytest.mark.parametrize("missing", ["ce_specversion", "ce_id", "ce_source", "ce_type"])
def test_a_record_without_a_required_attribute_is_no_event(missing: str) -> None:
    record = said()
    headers = tuple((name, value) for name, value in record.headers if name != missing)

    with pytest.raises(BadEvent, match=missing.removeprefix("ce_")):
        meta_of(Record(record.topic, 0, 0, record.key, record.value, headers, 0))


def test_data_of_another_model_names_the_field_that_is_wrong() -> None:
    with pytest.raises(BadEvent, match=r"maestro\.plan\.changed\.v1: plan_id|version"):
        decode(said(), PlanChanged)


@pytest.mark.parametrize(
    "value",
    [b'{"tenant_id": "a", "tenant_id": "b"}', b'{"later": {"name": 1, "name": 2}}', b'{"n": NaN}', b"", b"x"],
)
def test_data_that_decoders_read_differently_is_no_event(value: bytes) -> None:
    record = said()
    whole = (record.value or b"{}").removesuffix(b"}")
    doubtful = replace(record, value=value and whole + b"," + value.removeprefix(b"{"))

    with pytest.raises(BadEvent, match=r"maestro\.tenant\.changed\.v1: data: not JSON, or a name is said twice"):
        decode(doubtful, TenantChanged)
