"""No key reads another tenant's usage, or adds to it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from libs.access.scopes import DEFAULT_SCOPES
from tests.support.access import tenant_id
from tests.support.across_tenants import Trial, try_across
from tests.support.answers import Ask, Stage
from tests.support.archive import until_archived
from tests.support.corrections import ask, corrector
from tests.support.metering_world import World

JSON = {"content-type": "application/json"}
RANGE = {"metric": "ingest_events", "from": "2026-11-20T00:00:00Z", "to": "2026-11-30T00:00:00Z"}
USAGE = Ask("GET", "/v1/usage", query=RANGE)
BEHIND = Ask("GET", "/v1/usage/events", query=RANGE)
EXPLAIN = Ask("GET", "/v1/events/{source_and_id}")
VOID = Ask("POST", "/v1/corrections", json={"action": "void", "source": "test", "id": "secret-event"})
METER = Ask("GET", "/v1/meters/{name}")
SPAN = {name: RANGE[name] for name in ("from", "to")}
METER_USAGE = Ask("GET", "/v1/meters/{name}/usage", query=SPAN)
PUT_METER = Ask("PUT", "/v1/meters/{name}", json={"follows": 0, "spec": {"aggregation": "COUNT"}})
RETIRE_METER = Ask("POST", "/v1/meters/{name}/retire", json={"follows": 1})
CORRECTIONS = Ask("GET", "/v1/corrections")
CORRECTION = Ask("GET", "/v1/corrections/{correction_id}")


def span_of(tenant: str) -> dict[str, Any]:
    """Return an export of one metered span in the name of `tenant`."""
    named = {"key": "maestro.tenant.id", "value": {"stringValue": tenant}}
    counted = {"key": "maestro.ingest.events", "value": {"intValue": "5"}}
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "kind": 2,
        "startTimeUnixNano": "1795860000000000000",
        "endTimeUnixNano": "1795860000250000000",
        "attributes": [named, counted],
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


async def test_every_route_keeps_tenants_apart(archiving_world: World) -> None:
    world = archiving_world
    mine, theirs = await world.new_tenant(), await world.new_tenant()
    edge = await world.new_key("edge", act_for=(mine,), scopes=(*DEFAULT_SCOPES["edge"], "usage:correct"))
    own = await corrector(world, mine)
    await world.send(theirs, world.event(theirs, "secret-event", 41))
    await world.until_all_is_counted()
    await until_archived(world.bus, world.pool)
    nobody = {"tenant": tenant_id(9)}
    named = {"tenant": theirs}
    event = world.event(theirs, "forged", 7)
    asked = await ask(world, await corrector(world, theirs), "secret-event", {"maestro.ingest.events": 41})
    names = {"source_and_id": "test/secret-event", "correction_id": asked.json()["correction_id"]}
    names["name"] = "ingest_events"
    stage = Stage(world.app, {"mine": own.text, "edge": edge.text}, names)
    trials = [
        Trial(Ask("POST", "/v1/traces", json=span_of(theirs)), 200, 200),
        Trial(Ask("POST", "/api/v1/events", json=[event]), 207, 207),
        Trial(USAGE, 200, 403),
        Trial(USAGE.but(query=RANGE | named), 404, 403, USAGE.but(query=RANGE | nobody)),
        Trial(BEHIND, 200, 403),
        Trial(BEHIND.but(query=RANGE | named), 404, 403, BEHIND.but(query=RANGE | nobody)),
        Trial(EXPLAIN, 200, 403),
        Trial(EXPLAIN.but(query=named), 404, 403, EXPLAIN.but(query=nobody)),
        Trial(Ask("GET", "/v1/meters"), 200, 403),
        Trial(METER, 200, 403),
        Trial(METER_USAGE, 200, 403),
        Trial(METER_USAGE.but(query=SPAN | named), 404, 403),
        Trial(PUT_METER, 403, 403),
        Trial(RETIRE_METER, 403, 403),
        Trial(VOID, 404, 400),
        Trial(VOID.but(json=VOID.json | named), 403, 403),
        Trial(CORRECTIONS, 200, 200),
        Trial(CORRECTIONS.but(query=named), 404, 404, CORRECTIONS.but(query=nobody)),
        Trial(CORRECTION, 404, 404, CORRECTION.but(names={"correction_id": str(UUID(int=9))})),
    ]

    shown = ['"value":"41"', '"amount":"41"', '"status":"counted"', '"verdict":"accepted"', '"state":']
    await try_across(stage, trials, theirs=shown)

    refused = (await stage.answer(trials[0].ask.but(key="mine"))).json()
    assert refused["partialSuccess"]["rejectedSpans"] == "1"
    await world.until_all_is_counted()
    assert await world.total(theirs) == 41
