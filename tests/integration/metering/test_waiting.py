"""A sender that prefers to wait is told what became of each event, after its owner's commit."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from libs.schemas.values import TenantId
from services.metering.handlers.waiting import MAX_EVENTS, MAX_WAITERS
from tests.support.metering_world import Json, World

BATCH = {"content-type": "application/cloudevents-batch+json"}


async def send(world: World, tenant: TenantId, *events: Json, prefer: str = "wait=5") -> httpx.Response:
    content = httpx.Request("POST", "http://x", json=list(events)).content
    headers = BATCH | {"prefer": prefer}
    return await world.post("/api/v1/events", world.keys[tenant], content=content, headers=headers)


def told(answer: httpx.Response) -> list[Any]:
    return [one.get("outcome", one["verdict"]) for one in answer.json()["results"]]


async def test_each_event_is_told_counted_duplicate_or_conflict_and_the_total_is_there(world: World) -> None:
    tenant = await world.new_tenant()
    one, two = world.event(tenant, "1", 5), world.event(tenant, "2", 7)
    first = await send(world, tenant, one, one, world.event(tenant, "1", 6), {})
    assert (first.status_code, first.headers["preference-applied"]) == (207, "wait=5")
    assert told(first) == ["counted", "duplicate", "conflict", "rejected"]
    assert await world.total(tenant) == 5
    assert told(await send(world, tenant, one, two, world.event(tenant, "1", 6))) == [
        *("duplicate", "counted", "conflict")
    ]
    assert await world.total(tenant) == 12


async def test_what_another_tenant_has_under_the_same_id_is_nothing_to_this_one(world: World) -> None:
    mine, theirs = await world.new_tenant(), await world.new_tenant()
    assert told(await send(world, theirs, world.event(theirs, "1", 5))) == ["counted"]
    assert told(await send(world, mine, world.event(mine, "1", 5))) == ["counted"]


async def test_without_a_commit_in_time_it_is_pending_and_counts_later(world: World) -> None:
    tenant = await world.new_tenant()
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE usage_window IN ACCESS EXCLUSIVE MODE")  # no batch commits
        answer = await send(world, tenant, world.event(tenant, "1", 5), prefer="wait=0")
    assert (told(answer), answer.headers["preference-applied"]) == (["pending"], "wait=0")
    await world.until_total(tenant, 5)


async def test_without_the_preference_nothing_changes(world: World) -> None:
    tenant = await world.new_tenant()
    answer = await send(world, tenant, world.event(tenant, "1", 5), prefer="respond-async")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "preference-applied" not in answer.headers


async def test_a_request_of_more_events_than_may_be_waited_for_is_answered_at_once(world: World) -> None:
    tenant = await world.new_tenant()
    answer = await send(world, tenant, *(world.event(tenant, str(number)) for number in range(MAX_EVENTS + 1)))
    assert (answer.status_code, "preference-applied" in answer.headers) == (204, False)


async def test_who_finds_no_place_to_wait_is_answered_at_once_and_places_come_back(world: World) -> None:
    tenant = await world.new_tenant()
    held = [world.app.state.waiting.place(is_wanted=True) for _ in range(MAX_WAITERS)]
    assert [place.__enter__() for place in held] == [True] * MAX_WAITERS
    assert (await send(world, tenant, world.event(tenant, "1"))).status_code == 204
    for place in held:
        place.__exit__(None, None, None)
    answers = await asyncio.gather(*(send(world, tenant, world.event(tenant, f"w{number}")) for number in range(8)))
    assert [told(answer) for answer in answers] == [["counted"]] * 8


async def test_an_outcome_agrees_with_what_the_event_is_explained_as(world: World) -> None:
    tenant = await world.new_tenant()
    outcomes = [told(await send(world, tenant, world.event(tenant, "a"))) for _ in range(2)]
    found = await world.explain(tenant, "a")
    assert outcomes == [["counted"], ["duplicate"]]
    assert (found["status"], found["duplicate_count"]) == ("counted", 1)
