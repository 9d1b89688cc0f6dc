"""Sliding totals and months with an anchor, asked over HTTP and held to a count of one's own."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from libs.schemas.values import TenantId, rfc3339
from tests.support.metering_world import World

Counted = dict[datetime, Decimal]


async def counted(world: World, tenant: TenantId) -> Counted:
    """Send usage over ten days, a good deal of it in one quarter hour; return it by time."""
    random, found = Random(7), Counted()  # noqa: S311 - the same usage each time
    for number in range(120):
        at = world.clock.now() - timedelta(minutes=random.choice([5, random.randrange(14_000)]))
        amount = Decimal(random.choice(["1", "0.1", "9007199254740993", "0.001"]))
        await world.send(tenant, world.event(tenant, str(number), str(amount), time=rfc3339(at)))
        found[at] = found.get(at, Decimal(0)) + amount
    await world.until_all_is_counted()
    return found


async def pages(world: World, tenant: TenantId, **query: Any) -> list[dict[str, Any]]:
    """Return all windows of eleven days, page by page."""
    items: list[dict[str, Any]] = []
    query["from"] = rfc3339(world.clock.now() - timedelta(days=11))
    while True:
        page = await world.usage(tenant, limit=100, **query)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query["cursor"] = page["next_cursor"]


@pytest.mark.parametrize(("window", "over"), [("hour", "24h"), ("15m", "90m"), ("day", "3d"), ("day", "15m")])
async def test_each_step_has_the_exact_total_of_the_range_before_it(world: World, window: str, over: str) -> None:
    tenant = await world.new_tenant()
    usage = await counted(world, tenant)
    lengths = {"24h": 24, "90m": 1.5, "3d": 72, "15m": 0.25}

    found = await pages(world, tenant, window=window, over=over)

    ranges = [(datetime.fromisoformat(one["start"]), datetime.fromisoformat(one["end"])) for one in found]
    expected = [sum((usage[at] for at in usage if start <= at < end), Decimal(0)) for start, end in ranges]
    assert [Decimal(one["value"]) for one in found] == expected
    assert {end - start for start, end in ranges} == {timedelta(hours=lengths[over])}
    assert any(expected)


async def test_sliding_by_the_length_of_a_step_is_the_plain_query(world: World) -> None:
    tenant = await world.new_tenant()
    await counted(world, tenant)

    plain, slid = await pages(world, tenant, window="hour"), await pages(world, tenant, window="hour", over="1h")

    assert [one | {"value": Decimal(one["value"])} for one in plain] == [
        one | {"value": Decimal(one["value"])} for one in slid
    ]


async def test_nothing_used_slides_as_nothing(world: World) -> None:
    tenant = await world.new_tenant()
    assert {one["value"] for one in await pages(world, tenant, window="day", over="24h")} == {"0"}


async def test_a_months_total_is_of_the_days_from_its_anchor_on(world: World) -> None:
    tenant = await world.new_tenant()
    usage = await counted(world, tenant)

    found = await pages(world, tenant, window="month", anchor_day=20, tz="Europe/Berlin")

    cut = datetime.fromisoformat("2026-11-20T00:00+01:00")
    assert [datetime.fromisoformat(one["start"]) for one in found][1:] == [cut]
    assert Decimal(found[1]["value"]) == sum(amount for at, amount in usage.items() if at >= cut)


@pytest.mark.parametrize(
    "query",
    [
        {"over": "401d"},
        {"over": "7 days"},
        {"over": "10m"},
        {"window": "day", "anchor_day": 2},
        {"window": "month", "anchor_day": 32},
        {"window": "month", "anchor_day": 0},
        {"over": "1h", "from": "0001-01-01T00:00:00Z"},
    ],
)
async def test_what_cannot_be_asked_is_refused_with_the_reason(world: World, query: dict[str, Any]) -> None:
    tenant = await world.new_tenant()
    now = world.clock.now()
    asked = {"metric": "ingest_events", "from": rfc3339(now - timedelta(days=1)), "to": rfc3339(now)} | query
    answer = await world.get("/v1/usage", world.keys[tenant], **asked)
    assert answer.status_code == 400
    assert answer.json()["detail"]
