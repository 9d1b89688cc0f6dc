"""What senders are answered, before anything is counted."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from libs.bus.memory import MemoryBus
from libs.runtime.metrics import start_metrics
from services.metering.domain.bounds import BOUNDS
from services.metering.handlers.edge import Gate
from tests.support.exposed import exposed
from tests.support.metering_world import World

TRACES, EVENTS = "/v1/traces", "/api/v1/events"
BATCH = {"content-type": "application/cloudevents-batch+json"}


def problem(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    code: str = answer.json()["error"]
    return code


async def test_nobody_sends_usage_without_a_key(world: World) -> None:
    assert problem(await world.client.post(EVENTS, json=[])) == "unauthenticated"
    assert problem(await world.client.post(TRACES, json={})) == "unauthenticated"


async def test_a_key_without_the_scope_sends_nothing(world: World) -> None:
    tenant = await world.new_tenant()
    reader = await world.new_key("tenant", tenant_id=tenant, scopes=("usage:read",))
    answer = await world.post(EVENTS, reader, [world.event(tenant, "1")])
    assert (answer.status_code, problem(answer)) == (403, "forbidden")


async def test_each_event_has_its_verdict_where_not_all_are_taken(world: World) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    answer = await world.send(tenant, world.event(tenant, "1", 5), world.event(other, "2", 5), {"id": "3"})
    assert answer.status_code == 207
    shown = [(one["index"], one["id"], one["verdict"], one.get("reason")) for one in answer.json()["results"]]
    assert shown == [
        (0, "1", "accepted", None),
        (1, "2", "rejected", "wrong_tenant"),
        (2, "3", "rejected", "bad_event"),
    ]
    await world.until_total(tenant, 5)
    assert await world.total(other) == 0


async def test_a_tenants_key_stands_for_its_tenant_where_no_subject_is_named(world: World) -> None:
    tenant = await world.new_tenant()
    assert (await world.send(tenant, world.event(tenant, "1", 5, subject=None))).status_code == 204
    await world.until_total(tenant, 5)


@pytest.mark.parametrize("media", ["application/json", "application/cloudevents+json; charset=utf-8"])
async def test_a_single_event_is_taken_in_the_structured_mode(world: World, media: str) -> None:
    tenant = await world.new_tenant()
    content = json.dumps(world.event(tenant, "1", 5)).encode()
    answer = await world.post(EVENTS, world.keys[tenant], content=content, headers={"content-type": media})
    assert answer.status_code == 204
    await world.until_total(tenant, 5)


async def test_an_event_is_taken_in_the_binary_mode(world: World) -> None:
    tenant = await world.new_tenant()
    document = world.event(tenant, "a b", 5, source="/caf%C3%A9")
    headers = {f"ce-{name}": str(value).replace(" ", "%20") for name, value in document.items() if name != "data"}
    content = json.dumps(document["data"]).encode()
    headers |= {"content-type": "application/json"}
    answer = await world.post(EVENTS, world.keys[tenant], content=content, headers=headers)
    assert (answer.status_code, answer.text) == (204, "")
    await world.until_total(tenant, 5)
    assert (await world.explain(tenant, "a b", "%2Fcaf%C3%A9"))["status"] == "counted"


async def test_an_export_in_json_is_answered_in_json(world: World) -> None:
    tenant = await world.new_tenant()
    now_ns = int(world.clock.now().timestamp()) * 10**9
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "kind": 2,
        "startTimeUnixNano": str(now_ns),
        "endTimeUnixNano": str(now_ns),
        "attributes": [{"key": "graphql.operation.type", "value": {"stringValue": "query"}}],
    }
    wrong = span | {"spanId": "00"}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span, wrong]}]}]}
    answer = await world.post(TRACES, world.keys[tenant], body)
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    assert "bad_span" in answer.json()["partialSuccess"]["errorMessage"]
    await world.until_total(tenant, 1, "gql_calls")


@pytest.mark.parametrize(
    ("path", "headers", "content", "status", "code"),
    [
        (TRACES, {"content-type": "text/plain"}, b"", 415, "unsupported_media"),
        (EVENTS, {"content-type": "text/plain"}, b"{}", 415, "unsupported_media"),
        (EVENTS, BATCH | {"content-encoding": "br"}, b"[]", 415, "unsupported_media"),
        (EVENTS, BATCH, b"{", 400, "bad_body"),
        (EVENTS, BATCH, b"{}", 400, "bad_body"),
        (EVENTS, BATCH, b"[" * 100_000, 400, "bad_body"),
        (EVENTS, BATCH | {"content-encoding": "gzip"}, b"no gzip", 400, "bad_body"),
        (EVENTS, BATCH | {"content-encoding": "gzip"}, gzip.compress(b"[]", mtime=0)[:-4], 400, "bad_body"),
        (TRACES, {"content-type": "application/x-protobuf"}, b"\xff\xff", 400, "bad_body"),
        (EVENTS, BATCH, b"[" + b" " * BOUNDS.sent_bytes + b"]", 413, "body_too_large"),
        (
            EVENTS,
            BATCH | {"content-encoding": "gzip"},
            gzip.compress(b" " * (BOUNDS.plain_bytes + 1), mtime=0),
            413,
            "body_too_large",
        ),
    ],
)
async def test_a_body_that_cannot_be_taken_is_refused_by_name(
    world: World, path: str, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    tenant = await world.new_tenant()
    answer = await world.post(path, world.keys[tenant], content=content, headers=headers)
    assert (answer.status_code, problem(answer)) == (status, code)


async def test_a_sender_is_told_to_come_back_while_the_broker_does_not_answer(world: World, broker: MemoryBus) -> None:
    tenant = await world.new_tenant()
    broker.down = True
    answer = await world.send(tenant, world.event(tenant, "1", 5))
    assert (answer.status_code, problem(answer)) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    broker.down = False
    assert (await world.send(tenant, world.event(tenant, "1", 5))).status_code == 204
    await world.until_total(tenant, 5)


async def test_totals_are_served_without_a_watermark_while_the_broker_does_not_answer(
    world: World, broker: MemoryBus
) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    assert (await world.usage(tenant))["watermark_at"] is not None
    broker.down = True
    assert (await world.usage(tenant))["watermark_at"] is None
    assert await world.total(tenant) == 5
    broker.down = False


async def test_a_full_edge_tells_senders_to_come_back(world: World) -> None:
    tenant = await world.new_tenant()
    start_metrics("metering")
    before = sum(exposed("maestro_http_denied_total", code="intake_full"))
    world.app.state.gate = Gate(max_requests=0)
    answer = await world.send(tenant, world.event(tenant, "1"))
    assert (answer.status_code, problem(answer)) == (503, "intake_full")
    assert sum(exposed("maestro_http_denied_total", code="intake_full")) == before + 1


async def test_a_body_that_does_not_come_gives_its_place_back(world: World) -> None:
    tenant = await world.new_tenant()
    world.app.state.gate = Gate(max_requests=1, receive_s=0.05)

    async def endless() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    answer = await world.post(EVENTS, world.keys[tenant], content=endless(), headers=BATCH)
    assert (answer.status_code, problem(answer)) == (408, "body_too_slow")
    assert (await world.send(tenant, world.event(tenant, "1"))).status_code == 204


async def test_another_tenants_usage_is_not_found(world: World) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    query = {"metric": "gql_calls", "from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z", "tenant": other}
    assert problem(await world.get("/v1/usage", world.keys[tenant], **query)) == "not_found"
    assert problem(await world.get("/v1/events/test/1", world.keys[tenant], tenant=other)) == "not_found"


async def test_an_operator_reads_any_tenants_usage(world: World) -> None:
    tenant = await world.new_tenant()
    operator = await world.new_key("operator")
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    query = {"metric": "ingest_events", "from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}
    answer = await world.get("/v1/usage", operator, tenant=tenant, window="month", **query)
    assert [one["value"] for one in answer.json()["items"]] == ["5"]


async def test_an_operator_bills_no_tenant(world: World) -> None:
    tenant = await world.new_tenant()
    answer = await world.post(EVENTS, await world.new_key("operator"), [world.event(tenant, "1")])
    assert (answer.status_code, problem(answer)) == (403, "forbidden")


async def test_totals_page_by_windows_of_any_zone(world: World) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5), world.event(tenant, "2", 2, time="2026-11-22T23:30:00Z"))
    await world.until_total(tenant, 7)
    asked: dict[str, Any] = {
        "from": "2026-11-22T23:00:00Z",
        "to": "2026-11-25T00:00:00Z",
        "tz": "Europe/Berlin",
        "limit": 1,
    }
    first = await world.usage(tenant, **asked)
    assert [(one["start"], one["value"]) for one in first["items"]] == [("2026-11-22T23:00:00Z", "2")]
    assert first["items"][0]["is_complete"]
    second = await world.usage(tenant, **asked, cursor=first["next_cursor"])
    assert [(one["start"], one["value"]) for one in second["items"]] == [("2026-11-23T23:00:00Z", "5")]
    assert not second["items"][0]["is_complete"]
    third = await world.usage(tenant, **asked, cursor=second["next_cursor"])
    assert ([one["value"] for one in third["items"]], third["next_cursor"]) == (["0"], None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"metric": "cpu"}, "malformed"),
        ({"from": "2026-11-22T23:00:00"}, "malformed"),
        ({"tz": "Mars/Olympus"}, "bad_query"),
        ({"cursor": "nonsense"}, "malformed_cursor"),
        ({"limit": 100_000}, "malformed"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(world: World, changes: dict[str, object], code: str) -> None:
    tenant = await world.new_tenant()
    query = {"metric": "gql_calls", "from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"} | changes
    answer = await world.get("/v1/usage", world.keys[tenant], **query)
    assert (answer.status_code, problem(answer)) == (400, code)


async def test_an_event_that_nobody_sent_is_unknown(world: World) -> None:
    tenant = await world.new_tenant()
    assert (await world.explain(tenant, "never"))["status"] == "unknown"
