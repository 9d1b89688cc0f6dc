"""The events behind a total, listed from the archive: complete, each once, with what it counted for."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from libs.bus.memory import MemoryBus
from libs.runtime.clock import ManualClock
from libs.schemas.values import TenantId, rfc3339
from services.metering.settings import MeteringSettings
from tests.support.archive import until_archived
from tests.support.corrections import correct, corrector
from tests.support.metering_world import Json, World, metering_world

DAY = {"from": "2026-11-24T00:00:00Z", "to": "2026-11-25T00:00:00Z"}


@pytest.fixture
def world(archiving_world: World) -> World:
    return archiving_world


async def settled(world: World) -> None:
    await world.until_all_is_counted()
    await until_archived(world.bus, world.pool)


async def page_of(world: World, tenant: TenantId, **query: Any) -> Json:
    asked = {"metric": "ingest_events"} | DAY | query
    answer = await world.get("/v1/usage/events", world.keys[tenant], **asked)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def pages_of(world: World, tenant: TenantId, **query: Any) -> list[Json]:
    pages = [await page_of(world, tenant, **query)]
    while pages[-1]["next_cursor"] is not None:
        pages.append(await page_of(world, tenant, **query, cursor=pages[-1]["next_cursor"]))
    return pages


def ids(pages: list[Json]) -> list[str]:
    return [one["id"] for page in pages for one in page["items"]]


def amount(pages: list[Json]) -> Decimal:
    return sum((Decimal(one["amount"]) for page in pages for one in page["items"]), Decimal(0))


async def test_pages_hold_every_event_once_in_order_and_add_up_to_the_total(world: World) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    times = [rfc3339(world.clock.now() - timedelta(minutes=number % 4)) for number in range(23)]
    events = [world.event(tenant, f"e{number:02}", "0.1", time=time) for number, time in enumerate(times)]
    await world.send(tenant, *events)
    await world.send(other, world.event(other, "theirs", 7))
    await settled(world)
    pages = await pages_of(world, tenant, limit=5)
    assert [len(page["items"]) for page in pages] == [5, 5, 5, 5, 3]
    assert ids(pages) == [one["id"] for one in sorted(events, key=lambda one: (str(one["time"]), str(one["id"])))]
    assert {page["total"] for page in pages} == {"2.3"}
    assert amount(pages) == Decimal("2.3")
    assert pages[0]["items"][0]["type"] == "ingest"
    assert pages[0]["archived_to"] is not None


async def test_copies_and_conflicts_are_not_listed_whatever_time_and_body_they_have(world: World) -> None:
    tenant = await world.new_tenant()
    first = world.event(tenant, "a", 5)
    later = rfc3339(world.clock.now() + timedelta(minutes=5))
    far_back = rfc3339(world.clock.now() - timedelta(days=3))
    await world.send(tenant, first)
    await settled(world)
    await world.send(tenant, *[first] * 3, world.event(tenant, "a", 6), world.event(tenant, "a", 7, time=later))
    await world.send(tenant, world.event(tenant, "a", 8, time=far_back), world.event(tenant, "b", 1))
    await settled(world)
    pages = await pages_of(world, tenant, limit=1, **{"from": "2026-11-20T00:00:00Z"})
    assert [(one["id"], one["amount"]) for page in pages for one in page["items"]] == [("a", "5"), ("b", "1")]
    assert pages[0]["total"] == "6"


async def test_a_total_is_of_the_windows_asked_for_and_days_before_are_reached(world: World) -> None:
    tenant = await world.new_tenant()
    for days in (0, 1, 9):
        at = rfc3339(world.clock.now() - timedelta(days=days))
        await world.send(tenant, world.event(tenant, f"back-{days}", days + 1, time=at))
    await settled(world)
    span = {"from": "2026-11-15T10:00:00Z", "to": "2026-11-24T10:00:00Z"}
    pages = await pages_of(world, tenant, limit=1, **span)
    assert ids(pages) == ["back-9", "back-1"]
    assert amount(pages) == Decimal(pages[0]["total"]) == 12


async def test_what_came_after_the_close_is_listed_as_an_adjustment(world: World) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "in-time", 5))
    await world.until_total(tenant, 5)
    await world.ask_close(world.close_of(tenant))
    await world.until_closed(tenant)
    await world.send(tenant, world.event(tenant, "late", 3))
    await settled(world)
    [page] = await pages_of(world, tenant)
    listed = [(one["id"], one["amount"], one["adjustment"], one["adjusts"]) for one in page["items"]]
    assert listed == [("in-time", "5", "0", None), ("late", "0", "3", "2026-11")]
    assert (page["total"], page["adjusted"]) == ("5", "3")


async def test_corrections_are_in_the_amounts_whether_their_period_is_open_or_closed(world: World) -> None:
    tenant = await world.new_tenant()
    key = await corrector(world, tenant)
    events = [world.event(tenant, name, 5) for name in ("a", "b", "c", "d")]
    level = world.level(tenant, "e", 7)
    await world.send(tenant, *events, level)
    await settled(world)
    await correct(world, key, "a")
    await correct(world, key, "b", {"maestro.ingest.events": "2.5"})
    await correct(world, key, "e", {"maestro.ingest.events": 9})
    await world.ask_close(world.close_of(tenant))
    await world.until_closed(tenant)
    await correct(world, key, "c")
    [page] = await pages_of(world, tenant)
    listed = [(one["id"], one["amount"], one["adjustment"], one["corrected"]) for one in page["items"]]
    assert listed == [
        ("a", "0", "0", "voided"),
        ("b", "2.5", "0", "amended"),
        ("c", "5", "-5", "voided"),
        ("d", "5", "0", None),
        ("e", "9", "0", "amended"),
    ]
    assert (page["total"], page["adjusted"]) == ("21.5", "-5")


async def test_a_gauge_lists_its_samples_from_as_long_before_as_a_level_holds(world: World) -> None:
    tenant = await world.new_tenant()
    for hours in (30, 20, 0):
        at = rfc3339(world.clock.now() - timedelta(hours=hours))
        await world.send(tenant, world.level(tenant, f"back-{hours}", hours * 10, time=at))
    await settled(world)
    [page] = await pages_of(world, tenant, metric="storage_gb", **{"from": "2026-11-24T10:00:00Z"})
    assert [(one["id"], one["amount"]) for one in page["items"]] == [("back-20", "200"), ("back-0", "0")]
    assert page["unit"] == "By"


async def test_what_is_not_archived_yet_is_missing_and_the_answer_says_up_to_when_all_is_there(
    settings: MeteringSettings, broker: MemoryBus, clock: ManualClock, tmp_path: Path
) -> None:
    slow = settings.model_copy(update={"archive": True, "archive_dir": tmp_path / "archive", "archive_max_age_s": 900})
    async with metering_world(slow, broker, clock) as world:
        tenant = await world.new_tenant()
        await world.send(tenant, world.event(tenant, "a", 5))
        await world.until_total(tenant, 5)
        [page] = await pages_of(world, tenant)
    assert (page["items"], page["total"], page["archived_to"]) == ([], "5", None)


async def test_without_an_archive_the_answer_says_what_to_set(
    settings: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    async with metering_world(settings, broker, clock) as world:
        tenant = await world.new_tenant()
        answer = await world.get("/v1/usage/events", world.keys[tenant], metric="ingest_events", **DAY)
    assert (answer.status_code, answer.json()["error"]) == (503, "archive_away")
    assert "MAESTRO_ARCHIVE_DIR" in answer.json()["detail"]


async def test_a_file_that_is_gone_is_said_and_no_short_list_is_given(
    world: World, archiving: MeteringSettings
) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "a", 5))
    await settled(world)
    for path in archiving.archive_folder.glob("usage/*/*/*.parquet"):
        path.rename(path.with_suffix(".away"))
    answer = await world.get("/v1/usage/events", world.keys[tenant], metric="ingest_events", **DAY)
    assert (answer.status_code, answer.json()["error"]) == (503, "archive_away")


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-11-24T00:01:00Z"},
        {"to": "2026-11-24T00:00:00Z"},
        {"from": "2025-01-01T00:00:00Z"},
        {"cursor": "WyJ4Il0"},
        {"cursor": "WyIxZTk5IiwiYSIsImIiXQ"},
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(world: World, query: dict[str, str]) -> None:
    tenant = await world.new_tenant()
    asked = {"metric": "ingest_events"} | DAY | query
    answer = await world.get("/v1/usage/events", world.keys[tenant], **asked)
    assert answer.status_code == 400
