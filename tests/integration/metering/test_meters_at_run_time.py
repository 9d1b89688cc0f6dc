"""A meter made at run time counts what comes from its start on: without a restart, and no edge drops what it needs."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from libs.access.keys import ApiKey
from libs.bus.memory import MemoryBus
from libs.runtime.clock import ManualClock
from libs.schemas.events import WindowTotalled
from libs.schemas.values import rfc3339
from services.metering.settings import MeteringSettings
from tests.support.access import bearer
from tests.support.conditions import eventually
from tests.support.metering import exported
from tests.support.metering_world import World, metering_world

EXPORTS = {"aggregation": "SUM", "match": {"kinds": ["cloudevent"]}, "amount": {"attribute": "bytes"}}
SPANS = {"aggregation": "COUNT", "match": {"kinds": ["span"]}}


@pytest.fixture
async def operator(world: World) -> ApiKey:
    return await world.new_key("operator")


async def put(world: World, key: ApiKey, name: str, spec: object, follows: int = 0, **changes: Any) -> httpx.Response:
    """Ask for the next version of a meter, as whoever holds the key."""
    query = {"dry_run": "true"} if changes.pop("dry_run", False) else None
    headers = {"authorization": bearer(key), "maestro-reason": "a test"} | changes.pop("headers", {})
    body = {"follows": follows, "spec": spec} | changes
    return await world.client.put(f"/v1/meters/{name}", json=body, headers=headers, params=query)


async def made(world: World, key: ApiKey, name: str, spec: object, follows: int = 0, **changes: Any) -> datetime:
    """Make the next version of a meter, and return from when on it is in force."""
    answer = await put(world, key, name, spec, follows, **changes)
    assert answer.status_code == 201, answer.text
    return datetime.fromisoformat(answer.json()["effective_from"])


async def test_events_count_by_the_version_of_their_time_in_whatever_order_they_come(
    world: World, operator: ApiKey, clock: ManualClock
) -> None:
    tenant = await world.new_tenant()
    first = await made(world, operator, "exports", EXPORTS)
    doubled = EXPORTS | {"amount": {"attribute": "bytes_twice"}}
    second = await made(world, operator, "exports", doubled, 1, effective_from=rfc3339(first + timedelta(hours=1)))
    clock.advance(timedelta(hours=3))
    data = {"bytes": "0.5", "bytes_twice": 1}
    times = [second, first - timedelta(seconds=1), second + timedelta(hours=1), first, second - timedelta(seconds=1)]
    events = [world.event(tenant, str(at), data=data, time=rfc3339(time)) for at, time in enumerate(times)]
    assert (await world.send(tenant, *events)).status_code == 204
    await world.until_total(tenant, "3", "exports")  # 2 of the first version, half each, and 2 of the second
    assert await world.total(tenant) == 0


async def test_a_restarted_process_and_one_beside_it_count_by_the_meters_of_the_store(
    world: World, operator: ApiKey, clock: ManualClock, settings: MeteringSettings, broker: MemoryBus
) -> None:
    tenant = await world.new_tenant()
    begins = await made(world, operator, "exports", EXPORTS)
    clock.advance(begins - clock.now())
    async with metering_world(settings.model_copy(update={"instance": "1"}), broker, clock) as other:
        other.keys = world.keys
        for at, one in enumerate([world, other]):
            event = one.event(tenant, str(at), data={"bytes": 2})
            assert (await one.send(tenant, event)).status_code == 204
        await other.until_total(tenant, 4, "exports")
        listed = (await other.get("/v1/meters", operator)).json()["items"]
    assert [one["name"] for one in listed] == ["exports", "gql_calls", "ingest_events", "storage_gb"]


async def test_spans_reach_a_new_meter_through_an_edge_that_has_not_heard_of_it(
    world: World, operator: ApiKey, clock: ManualClock
) -> None:
    tenant = await world.new_tenant()
    begins = await made(world, operator, "spans", SPANS)
    clock.advance(begins - clock.now())
    # The edge has read nothing since: it is beyond its lease, and passes on what it cannot place.
    world.app.state.edge.meters.read([], 0)
    world.app.state.edge.meters.note_read(clock.monotonic() - 60)
    body = exported(tenant, begins, 1, 2, 3)
    answer = await world.post(
        "/v1/traces", world.keys[tenant], content=body, headers={"content-type": "application/x-protobuf"}
    )
    assert answer.status_code == 200
    await world.until_total(tenant, 3, "spans")


async def test_what_is_counted_for_a_custom_meter_is_closed_and_never_told(
    world: World, operator: ApiKey, clock: ManualClock
) -> None:
    tenant = await world.new_tenant()
    begins = await made(world, operator, "exports", EXPORTS)
    clock.advance(begins - clock.now())
    data = {"bytes": 7, "maestro": {"ingest": {"events": 2}}}
    assert (await world.send(tenant, world.event(tenant, "1", data=data))).status_code == 204
    await world.until_total(tenant, 7, "exports")
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    assert closed.totals == {"ingest_events": 2}
    assert {one.metric for one in closed.windows} == {"ingest_events"}
    assert (await world.send(tenant, world.event(tenant, "late", data=data))).status_code == 204
    await world.until_all_is_counted()
    assert await world.total(tenant, "exports") == 7
    explained = await world.explain(tenant, "late")
    assert [one["metric"] for one in explained["adjustments"]] == ["exports", "ingest_events"]

    async def told() -> bool:
        return {one.metric for one in await world.heard(tenant) if isinstance(one, WindowTotalled)} == {"ingest_events"}

    await eventually(told, "the windows of the shipped meter are told, and no others")


async def test_a_retired_meter_counts_nothing_from_its_end_on(
    world: World, operator: ApiKey, clock: ManualClock
) -> None:
    tenant = await world.new_tenant()
    begins = await made(world, operator, "exports", EXPORTS)
    headers = {"authorization": bearer(operator), "maestro-reason": "a test"}
    for status in (201, 200):
        answer = await world.client.post("/v1/meters/exports/retire", json={"follows": 1}, headers=headers)
        assert answer.status_code == status, answer.text
    ends = datetime.fromisoformat(answer.json()["effective_from"])
    assert ends == begins + timedelta(minutes=15)
    clock.advance(ends - clock.now())
    before = world.event(tenant, "1", data={"bytes": 1}, time=rfc3339(ends - timedelta(seconds=1)))
    after = world.event(tenant, "2", data={"bytes": 1}, time=rfc3339(ends))
    assert (await world.send(tenant, before, after)).status_code == 204
    await world.until_all_is_counted()
    assert await world.total(tenant, "exports") == 1


async def test_of_two_who_change_a_meter_at_once_one_is_told_to_look_again(world: World, operator: ApiKey) -> None:
    other = EXPORTS | {"amount": {"attribute": "other"}}
    answers = await asyncio.gather(*(put(world, operator, "exports", spec) for spec in (EXPORTS, other)))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    versions = (await world.get("/v1/meters/exports", operator)).json()["items"]
    assert [(one["version"], one["actor"], one["reason"]) for one in versions] == [(1, operator.key_id, "a test")]
    again = await put(world, operator, "exports", versions[0]["spec"])
    assert (again.status_code, again.json()["version"]) == (200, 1)


async def test_a_dry_run_says_what_would_be_and_changes_nothing(world: World, operator: ApiKey) -> None:
    shown = await put(world, operator, "exports", EXPORTS, dry_run=True)
    assert (shown.status_code, shown.json()["dry_run"]) == (200, True)
    assert datetime.fromisoformat(shown.json()["effective_from"]) == datetime.fromisoformat("2026-11-24T10:30Z")
    assert (await world.get("/v1/meters/exports", operator)).status_code == 404


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"effective_from": "2026-11-24T10:15:00Z"}, "bad_meter"),
        ({"effective_from": "2026-11-24T12:01:00Z"}, "bad_meter"),
        ({"follows": 3}, "meter_moved"),
        ({"spec": EXPORTS | {"aggregation": "COUNT"}}, "malformed"),
        ({"spec": EXPORTS | {"match": {"kinds": ["trace"]}}}, "malformed"),
    ],
)
async def test_a_version_that_cannot_be_is_refused_with_the_reason(
    world: World, operator: ApiKey, changes: dict[str, Any], code: str
) -> None:
    answer = await put(world, operator, "exports", **({"spec": EXPORTS} | changes))
    assert answer.json()["error"] == code, answer.text


async def test_only_operators_change_meters_and_they_say_why(world: World, operator: ApiKey) -> None:
    tenant = await world.new_tenant()
    assert (await put(world, world.keys[tenant], "exports", EXPORTS)).status_code == 403
    silent = await put(world, operator, "exports", EXPORTS, headers={"maestro-reason": ""})
    assert silent.json()["error"] == "bad_reason"
    shown = await world.get("/v1/meters/ingest_events", world.keys[tenant])
    assert [(one["version"], one["actor"]) for one in shown.json()["items"]] == [(1, None)]


async def test_a_meter_that_there_is_not_is_not_found_and_those_there_are_named(world: World) -> None:
    tenant = await world.new_tenant()
    query = {"from": "2026-11-24T00:00:00Z", "to": "2026-11-25T00:00:00Z"}
    answer = await world.get("/v1/meters/nothing/usage", world.keys[tenant], **query)
    assert answer.status_code == 404
    assert "ingest_events" in answer.json()["detail"]
