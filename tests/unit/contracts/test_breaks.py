"""Which changes of a contract are breaking: each rule, and its opposite."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest

from deploy.contracts.breaks import breaks, event_breaks
from deploy.contracts.http_breaks import http_breaks
from deploy.contracts.narrowing import Shape, narrowed

Json = dict[str, Any]

TODAY = date(2026, 11, 24)
V1, V2 = "maestro.thing.made.v1", "maestro.thing.made.v2"
EVENT: Json = {
    "type": "object",
    "required": ["thing_id", "kind"],
    "properties": {
        "thing_id": {"type": "string", "pattern": "^[a-z]+$"},
        "kind": {"enum": ["big", "small"]},
        "size": {"type": "integer", "minimum": 1},
        "note": {"anyOf": [{"type": "string", "maxLength": 10}, {"type": "null"}]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
        "totals": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "$defs": {"Part": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
}
TOPIC: Json = {
    "owner": "maker",
    "consumers": ["reader"],
    "producers": ["collector"],
    "key": "thing id",
    "partitions": 4,
    "cleanup": "delete",
    "retention_h": 168,
    "max_record_bytes": 1000,
    "types": [V1],
    "format": None,
    "dead_letter": True,
    "deprecated": {},
}
GONE: Json = {"deprecated_on": "2026-05-01", "removable_on": "2026-11-01", "replaced_by": V2}
PROMISES: Json = {"topics": {"things": TOPIC}, "events": {V1: EVENT}, "http": {}, "examples": {"a.json": "1"}}


def event(**fields: Json | None) -> Json:
    """Return the event's shape with these fields, without those that are None."""
    changed = copy.deepcopy(EVENT)
    changed["properties"] = {k: v for k, v in (changed["properties"] | fields).items() if v is not None}
    return changed


def requiring(*names: str) -> Json:
    return copy.deepcopy(EVENT) | {"required": list(names)}


def part(**changes: Any) -> Json:
    return copy.deepcopy(EVENT) | {"$defs": {"Part": EVENT["$defs"]["Part"] | changes}}


@pytest.mark.parametrize(
    ("new", "said"),
    [
        pytest.param(event(size=None), ".size: the field was removed", id="a field is removed"),
        pytest.param(event(size={"type": "string"}), ".size: integer is no longer taken", id="a type is changed"),
        pytest.param(event(size={"type": "integer", "minimum": 5}), "minimum was raised", id="a bound is narrowed"),
        pytest.param(event(size={"type": "integer"}), "minimum was raised", id="a bound is lifted under old readers"),
        pytest.param(event(size={"type": "number", "minimum": 1}), "number is no longer taken", id="type widened"),
        pytest.param(event(kind={"enum": ["big"]}), "'small' is no longer taken", id="an enum is narrowed"),
        pytest.param(event(kind={"enum": ["big", "small", "odd"]}), "'odd' is no longer taken", id="enum widened"),
        pytest.param(event(kind={"const": "big"}), "'small' is no longer taken", id="an enum becomes a constant"),
        pytest.param(event(kind={"type": "string"}), "only 'big', 'small' is taken", id="an enum becomes free text"),
        pytest.param(event(thing_id={"type": "string", "pattern": "^[a-z]$"}), "pattern is now", id="pattern changed"),
        pytest.param(event(thing_id={"type": "string"}), "pattern is now", id="a pattern is dropped"),
        pytest.param(event(note={"type": "string", "maxLength": 10}), "null is no longer taken", id="null taken away"),
        pytest.param(event(parts={"type": "array", "items": {}}), "is no longer taken", id="items become anything"),
        pytest.param(
            event(totals={"type": "object", "additionalProperties": {"type": "integer"}}),
            ".totals.*: string",
            id="the values of a map change",
        ),
        pytest.param(requiring("thing_id", "kind", "size"), ".size: the field must be there", id="a field is required"),
        pytest.param(requiring("thing_id"), ".kind: the field must be there", id="a field may be absent now"),
        pytest.param(part(required=[]), ".parts.*.name: the field must be there", id="inside of a list"),
        pytest.param(part(properties={}), ".parts.*.name: the field was removed", id="removed inside of a list"),
        pytest.param(EVENT | {"additionalProperties": False}, "unknown fields are no longer taken", id="it is closed"),
    ],
)
def test_a_change_that_old_records_or_old_readers_do_not_survive_breaks_an_event(new: Json, said: str) -> None:
    assert any(said in one for one in event_breaks(EVENT, new)), event_breaks(EVENT, new)


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(EVENT, id="nothing changes"),
        pytest.param(event(colour={"type": "string", "default": "red"}), id="an optional field is added"),
        pytest.param(part(properties={"name": {"type": "string"}, "mass": {"type": "string"}}), id="also deep inside"),
        pytest.param(EVENT | {"$defs": EVENT["$defs"] | {"Other": {"type": "null"}}}, id="an unused shape is added"),
        pytest.param(event(parts={"type": "array", "items": EVENT["$defs"]["Part"]}), id="a reference is written out"),
        pytest.param(event(note={"type": ["string", "null"], "maxLength": 10}), id="alternatives are written as types"),
    ],
)
def test_a_change_that_all_survive_breaks_nothing(new: Json) -> None:
    assert event_breaks(EVENT, new) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": "owner id"}, "key changed"),
        ({"partitions": 8}, "partitions changed from 4 to 8"),
        ({"partitions": 2}, "partitions changed from 4 to 2"),
        ({"owner": "other"}, "owner changed"),
        ({"cleanup": "compact", "retention_h": None}, "cleanup changed"),
        ({"retention_h": 24}, "retention_h is now 24"),
        ({"max_record_bytes": 999}, "max_record_bytes is now 999"),
        ({"dead_letter": False}, "no longer set aside"),
        ({"types": []}, f"{V1} is no longer said there"),
        ({"format": "rows"}, "format changed"),
        ({"consumers": []}, "consumers: reader reads it no more"),
        ({"consumers": ["another"]}, "consumers: reader reads it no more"),
        ({"producers": []}, "producers: collector writes to it no more"),
        ({"producers": ["reader"]}, "producers: collector writes to it no more"),
    ],
)
def test_a_topic_whose_records_move_shrink_or_vanish_breaks(changes: Json, said: str) -> None:
    new = PROMISES | {"topics": {"things": TOPIC | changes}}
    assert any(said in str(one) for one in breaks(PROMISES, new, TODAY))


@pytest.mark.parametrize(
    "changes",
    [
        {"consumers": ["another", "reader"]},
        {"producers": ["another", "collector"]},
        {"retention_h": 840},
        {"max_record_bytes": 2000},
        {"types": [V1, V2]},
        {"purpose": "said better"},
        {"deprecated": {V1: GONE}},
    ],
)
def test_a_topic_that_keeps_more_or_has_more_readers_breaks_nothing(changes: Json) -> None:
    assert breaks(PROMISES, PROMISES | {"topics": {"things": TOPIC | changes}}, TODAY) == []


@pytest.mark.parametrize(("field", "login"), [("consumers", "reader"), ("producers", "collector")])
def test_who_reads_or_writes_goes_once_its_window_is_over(field: str, login: str) -> None:
    old = PROMISES | {"topics": {"things": TOPIC | {"deprecated": {login: GONE}}}}
    new = PROMISES | {"topics": {"things": TOPIC | {field: []}}}
    assert breaks(old, new, TODAY) == []
    assert len(breaks(old, new, date(2026, 10, 31))) == 1


def test_who_reads_stays_where_no_release_said_that_it_goes() -> None:
    new = PROMISES | {"topics": {"things": TOPIC | {"consumers": [], "deprecated": {"reader": GONE}}}}
    assert len(breaks(PROMISES, new, TODAY)) == 1


def test_a_release_from_before_producers_were_written_down_breaks_nothing() -> None:
    old = PROMISES | {"topics": {"things": {k: v for k, v in TOPIC.items() if k != "producers"}}}
    assert breaks(old, PROMISES, TODAY) == []


def test_a_new_topic_and_a_new_type_break_nothing() -> None:
    new = PROMISES | {"topics": {"things": TOPIC, "more": TOPIC}, "events": {V1: EVENT, V2: {"type": "object"}}}
    assert breaks(PROMISES, new, TODAY) == []


def test_a_removed_topic_breaks() -> None:
    assert [str(one) for one in breaks(PROMISES, PROMISES | {"topics": {}}, TODAY)] == [
        "topic things: the topic was removed"
    ]


def without_v1(deprecation: Json | None) -> tuple[Json, Json]:
    """Return a release that deprecates the first version (or does not), and the one after it, which has the second."""
    deprecated = {} if deprecation is None else {V1: deprecation}
    old = PROMISES | {"topics": {"things": TOPIC | {"types": [V1, V2], "deprecated": deprecated}}}
    old = old | {"events": {V1: EVENT, V2: EVENT}}
    return old, old | {"topics": {"things": TOPIC | {"types": [V2]}}, "events": {V2: EVENT}}


def test_a_version_goes_once_its_window_is_over() -> None:
    old, new = without_v1(GONE)
    assert breaks(old, new, TODAY) == []


def test_a_version_stays_until_the_day_that_was_recorded() -> None:
    old, new = without_v1(GONE)
    found = breaks(old, new, date(2026, 10, 31))
    assert [str(one) for one in found] == [
        f"topic things: {V1} is no longer said there",
        f"event {V1}: the type was removed",
    ]


def test_a_version_that_was_never_deprecated_in_a_release_stays() -> None:
    old, new = without_v1(None)
    new["topics"]["things"]["deprecated"] = {V1: GONE}
    assert len(breaks(old, new, TODAY)) == 2


def test_a_deprecated_version_does_not_change_either() -> None:
    old, new = without_v1(GONE)
    new["events"] |= {V1: event(size=None)}
    new["topics"]["things"]["types"] = [V1, V2]
    assert [str(one) for one in breaks(old, new, TODAY)] == [f"event {V1}: data.size: the field was removed"]


@pytest.mark.parametrize(("now", "said"), [({}, "was removed"), ({"a.json": "2"}, "was changed")])
def test_a_golden_example_is_for_ever(now: Json, said: str) -> None:
    assert [said in str(one) for one in breaks(PROMISES, PROMISES | {"examples": now}, TODAY)] == [True]


ITEM: Json = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string"}, "note": {"type": "string"}},
}
ORDER: Json = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
}
ROUTE: Json = {
    "parameters": [{"in": "query", "name": "limit", "required": False, "schema": {"type": "integer", "maximum": 500}}],
    "requestBody": {"content": {"application/json": {"schema": ORDER}, "text/csv": {"schema": {}}}},
    "responses": {"200": {"content": {"application/json": {"schema": ITEM}}}, "404": {}},
    "security": [{"ApiKey": []}],
}


def service(operation: Json) -> Json:
    return {"maker": {"paths": {"/v1/things": {"post": operation}}, "components": {}}}


def changed(**changes: Any) -> list[str]:
    return [what for _, what in http_breaks(service(ROUTE), service(ROUTE | changes), TODAY)]


def asking(**changes: Any) -> Json:
    return {"parameters": [ROUTE["parameters"][0] | changes]}


def body(schema: Json, **more: Any) -> Json:
    return {"requestBody": {"content": {"application/json": {"schema": schema}, "text/csv": {"schema": {}}}, **more}}


def answer(schema: Json) -> Json:
    return {"responses": {"200": {"content": {"application/json": {"schema": schema}}}, "404": {}}}


MORE: Json = {"in": "query", "name": "colour", "schema": {"type": "string"}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {"responses": {"200": ROUTE["responses"]["200"]}}, "404 is no longer answered", id="refusal removed"
        ),
        pytest.param({"responses": {"404": {}}}, "200 is no longer answered", id="success removed"),
        pytest.param({"responses": {"200": {"content": {}}, "404": {}}}, "200 no longer comes as", id="media removed"),
        pytest.param({"parameters": []}, "no longer looked at", id="parameter removed"),
        pytest.param(asking(required=True), "must be there now", id="parameter required"),
        pytest.param(asking(schema={"type": "integer", "maximum": 50}), "maximum was lowered", id="parameter narrowed"),
        pytest.param(
            {"parameters": [*ROUTE["parameters"], MORE | {"required": True}]}, "must be there", id="new required"
        ),
        pytest.param({"requestBody": None}, "body is no longer looked at", id="body removed"),
        pytest.param(body(ORDER, required=True), "a body must be there now", id="body required"),
        pytest.param(
            {"requestBody": {"content": {"application/json": {"schema": ORDER}}}}, "text/csv", id="media refused"
        ),
        pytest.param(
            body(ORDER | {"required": ["name", "size"]}), "body.size: the field must", id="body field required"
        ),
        pytest.param(
            body(ORDER | {"properties": {"name": {"type": "string"}}}),
            "body.size: the field was removed",
            id="body field removed",
        ),
        pytest.param(
            body({"type": "object", "properties": {"name": {"type": "integer"}, "size": {"type": "integer"}}}),
            "body.name: string",
            id="body field narrowed",
        ),
        pytest.param(
            answer(ITEM | {"required": []}), "200.id: the field must be there", id="answer field may be absent"
        ),
        pytest.param(
            answer(ITEM | {"properties": {"id": {"type": "string"}}}),
            "200.note: the field was removed",
            id="answer field removed",
        ),
        pytest.param(
            answer(ITEM | {"properties": {"id": {"type": "integer"}, "note": {"type": "string"}}}),
            "200.id: integer",
            id="answer field of another type",
        ),
        pytest.param({"security": [{"Token": []}]}, "credentials of ApiKey", id="credentials no longer enough"),
    ],
)
def test_a_change_that_a_client_from_before_does_not_survive_breaks_a_route(changes: Json, said: str) -> None:
    assert any(said in one for one in changed(**changes)), changed(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="nothing changes"),
        pytest.param({"responses": ROUTE["responses"] | {"409": {}}}, id="another refusal"),
        pytest.param({"parameters": [*ROUTE["parameters"], MORE]}, id="another optional parameter"),
        pytest.param(asking(schema={"type": "integer", "maximum": 1000}), id="parameter widened"),
        pytest.param(body(ORDER | {"required": []}), id="body field may be absent"),
        pytest.param(
            answer(ITEM | {"properties": ITEM["properties"] | {"more": {}}}), id="another field in the answer"
        ),
        pytest.param({"security": [{"ApiKey": []}, {"Token": []}]}, id="other credentials too"),
        pytest.param({"security": []}, id="open to all"),
        pytest.param({"deprecated": True, "x-removable-on": "2027-02-22"}, id="deprecated"),
    ],
)
def test_a_change_that_clients_survive_breaks_no_route(changes: Json) -> None:
    assert changed(**changes) == []


def test_a_removed_route_and_a_removed_service_break() -> None:
    empty: Json = {"maker": {"paths": {}, "components": {}}}
    assert [what for _, what in http_breaks(service(ROUTE), empty, TODAY)] == ["the route was removed"]
    assert [what for _, what in http_breaks(service(ROUTE), {}, TODAY)] == ["the service was removed"]


@pytest.mark.parametrize(("removable_on", "count"), [("2026-11-24", 0), ("2026-11-25", 1)])
def test_a_deprecated_route_goes_on_its_day(removable_on: str, count: int) -> None:
    old = ROUTE | {"deprecated": True, "x-removable-on": removable_on}
    assert len(list(http_breaks(service(old), {"maker": {"paths": {}, "components": {}}}, TODAY))) == count


def test_a_route_is_deprecated_for_ninety_days_at_least_and_its_day_comes_no_nearer() -> None:
    soon, later = ({"deprecated": True, "x-removable-on": day} for day in ("2027-02-21", "2027-02-23"))

    assert changed(**soon) == ["it is deprecated for fewer than 90 days"]
    assert [what for _, what in http_breaks(service(ROUTE | later), service(ROUTE | soon), TODAY)] == [
        "it may go earlier than was said, on 2027-02-21"
    ]
    assert list(http_breaks(service(ROUTE | soon), service(ROUTE | later), TODAY)) == []


def test_an_open_route_that_asks_for_credentials_breaks() -> None:
    found = http_breaks(service(ROUTE | {"security": []}), service(ROUTE), TODAY)
    assert [what for _, what in found] == ["credentials are needed now"]


def test_a_schema_that_refers_to_itself_ends_with_an_error() -> None:
    endless: Json = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    shape = Shape({"$ref": "#/$defs/A"}, {"$defs": {"A": endless | {"properties": {"next": {"$ref": "#/$defs/A"}}}}})
    with pytest.raises(RecursionError, match="refers to itself"):
        narrowed(shape, shape)
