from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.schemas import cloudevents
from libs.schemas.cloudevents import BadEvent

GOOD = {"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order.placed"}


def test_a_structured_event_keeps_its_attributes_and_data() -> None:
    event = cloudevents.structured(GOOD | {"subject": "tnt_x", "time": "2026-11-24T12:00:00+02:00", "data": {"n": 1}})
    assert (event.id, event.source, event.type, event.subject) == ("a-1", "/shop", "order.placed", "tnt_x")
    assert event.time == datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert event.data == {"n": 1}


@pytest.mark.parametrize("second", ["ce-subject", "CE-Subject"])
def test_an_attribute_that_two_headers_say_is_refused(second: str) -> None:
    headers = [*((f"ce-{name}", str(value)) for name, value in GOOD.items()), ("ce-subject", "a"), (second, "b")]
    with pytest.raises(BadEvent, match="two headers"):
        cloudevents.binary(headers, None)


def test_a_binary_event_reads_its_attributes_from_headers() -> None:
    headers = [("Ce-Id", "a-1"), ("ce-source", "/shop"), ("ce-type", "t"), ("ce-specversion", "1.0"), ("accept", "*/*")]
    event = cloudevents.binary(headers, {"n": 1})
    assert (event.id, event.source, event.time) == ("a-1", "/shop", None)


def test_the_kafka_binding_has_its_own_prefix() -> None:
    headers = [("ce_id", "a-1"), ("ce_source", "/shop"), ("ce_type", "t"), ("ce_specversion", "1.0")]
    assert cloudevents.binary(headers, None, prefix="ce_").id == "a-1"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": "a\x00b"}, "id"),
        ({"source": None}, "source"),
        ({"type": "x" * 2000}, "type"),
        ({"subject": 7}, "subject"),
        ({"time": "yesterday"}, "time"),
        ({"time": "2026-11-24T10:00:00"}, "time"),
        ({"data_base64": "AA=="}, "data_base64"),
    ],
)
def test_a_wrong_attribute_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(BadEvent, match=named):
        cloudevents.structured(GOOD | change)


@pytest.mark.parametrize("document", [None, [], "text", 7])
def test_an_event_is_an_object(document: object) -> None:
    with pytest.raises(BadEvent, match="JSON object"):
        cloudevents.structured(document)
