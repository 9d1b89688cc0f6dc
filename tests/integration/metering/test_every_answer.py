"""Every status that the documents name for metering's routes is answered, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import httpx

from services.metering.handlers.edge import Gate
from tests.support.access import tenant_id
from tests.support.answers import Ask, Stage, drive
from tests.support.corrections import corrector
from tests.support.metering_world import World
from tests.support.watched import watched

BATCH = {"content-type": "application/cloudevents-batch+json"}
PLAIN = {"content-type": "application/json"}
TRACES = Ask("POST", "/v1/traces", "tenant", content=b'{"resourceSpans": []}', headers=PLAIN)
EVENTS = Ask("POST", "/api/v1/events", "tenant", content=b"[]", headers=BATCH)
USAGE = Ask(
    "GET",
    "/v1/usage",
    "tenant",
    query={"metric": "gql_calls", "from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"},
)
BEHIND = Ask(
    "GET",
    "/v1/usage/events",
    "tenant",
    query={"metric": "gql_calls", "from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"},
)
EXPLAIN = Ask("GET", "/v1/events/{source_and_id}", "tenant")
VOID = {"action": "void", "source": "shop", "id": "1"}
CORRECT = Ask("POST", "/v1/corrections", "corrector", json=VOID)
CLAIM = {"idempotency-key": "once"}
CORRECTIONS = Ask("GET", "/v1/corrections", "tenant")
CORRECTION = Ask("GET", "/v1/corrections/{correction_id}", "tenant")
RANGE = {"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}
METERS = Ask("GET", "/v1/meters", "tenant")
METER = Ask("GET", "/v1/meters/{name}", "tenant")
METER_USAGE = Ask("GET", "/v1/meters/{name}/usage", "tenant", query=RANGE)
WHY = {"maestro-reason": "a test"}
COUNT = {"follows": 0, "spec": {"aggregation": "COUNT"}}
PUT_METER = Ask("PUT", "/v1/meters/{name}", "operator", json=COUNT, headers=WHY, names={"name": "logins"})
RETIRE = Ask("POST", "/v1/meters/{name}/retire", "operator", json={"follows": 1}, headers=WHY, names={"name": "logins"})
GOOD = [
    *((200, METERS), (200, METER), (200, METER_USAGE)),
    *((201, PUT_METER), (200, PUT_METER), (201, RETIRE), (200, RETIRE)),
    *((200, TRACES), (204, EVENTS), (200, USAGE), (200, BEHIND), (200, EXPLAIN)),
    *((202, CORRECT), (200, CORRECTIONS), (200, CORRECTION)),
]
OWN = [
    (400, TRACES.but(content=b"{")),
    (415, TRACES.but(headers={"content-type": "text/csv"})),
    (207, EVENTS.but(content=b"[{}]")),
    (400, EVENTS.but(content=b"{")),
    (415, EVENTS.but(headers={"content-type": "text/csv"})),
    (400, USAGE.but(query={**USAGE.query, "metric": "cpu"})),
    (404, USAGE.but(query={**USAGE.query, "tenant": tenant_id(9)})),
    (400, BEHIND.but(query={**BEHIND.query, "to": "2026-11-01T00:00:00Z"})),
    (404, BEHIND.but(query={**BEHIND.query, "tenant": tenant_id(9)})),
    (400, EXPLAIN.but(key="operator")),
    (404, EXPLAIN.but(query={"tenant": tenant_id(9)})),
    (400, CORRECT.but(json=VOID | {"action": "amend"})),
    (403, CORRECT.but(json=VOID | {"tenant": tenant_id(9)})),
    (404, CORRECT.but(json=VOID | {"id": "2"})),
    (202, CORRECT.but(headers=CLAIM)),
    (422, CORRECT.but(headers=CLAIM, json=VOID | {"id": "2"})),
    (400, METER.but(names={"name": "No"})),
    (404, METER.but(names={"name": "no"})),
    (400, METER_USAGE.but(query=RANGE | {"window": "fortnight"})),
    (404, METER_USAGE.but(names={"name": "no"})),
    (400, PUT_METER.but(json=COUNT | {"follows": -1})),
    (403, PUT_METER.but(key="tenant")),
    (409, PUT_METER.but(json=COUNT | {"follows": 9})),
    (400, RETIRE.but(json={"follows": 0})),
    (403, RETIRE.but(key="tenant")),
    (404, RETIRE.but(json={"follows": 2})),
    (409, RETIRE.but(json={"follows": 9})),
    (400, CORRECTIONS.but(query={"cursor": "x"})),
    (404, CORRECTIONS.but(query={"tenant": tenant_id(9)})),
    (400, CORRECTION.but(names={"correction_id": "first"})),
    (404, CORRECTION.but(names={"correction_id": str(UUID(int=9))})),
]


async def test_every_documented_status_is_answered(archiving_world: World) -> None:
    world = archiving_world
    tenant = await world.new_tenant()
    powerless = await world.new_key("tenant", tenant_id=tenant, scopes=())
    operator = await world.new_key("operator")
    keys = {"tenant": world.keys[tenant].text, "powerless": powerless.text, "operator": operator.text}
    keys["corrector"] = (await corrector(world, tenant)).text
    await world.send(tenant, world.event(tenant, "1", source="shop"))
    await world.until_total(tenant, 1)
    stage = Stage(world.app, keys, {"source_and_id": "shop/1", "name": "ingest_events"})
    kept = world.app.state.correcting
    world.app.state.correcting = replace(kept, is_archived=False)
    nowhere = await stage.answer(CORRECT)  # no archive is kept
    world.app.state.correcting = kept
    stage = replace(
        stage, names={**stage.names, "correction_id": (await stage.answer(CORRECT)).json()["correction_id"]}
    )
    world.app.state.gate = Gate(receive_s=0.05)

    slow = [(await too_slow(world, ask, keys["tenant"]), ask) for ask in (TRACES, EVENTS)]

    assert [status for status, _ in slow] == [408, 408]
    assert nowhere.status_code == 409
    await drive(stage, GOOD, [*OWN], seen=[*slow, (409, CORRECT)])


async def too_slow(world: World, ask: Ask, key: str) -> int:
    """Send a body that does not end, and return what that is answered."""

    async def body() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    transport = httpx.ASGITransport(watched(world.app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return (await client.post(ask.route, content=body(), headers=headers)).status_code
