"""Corrections of events that stand: what they change, what they leave, and who sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from libs.access.keys import ApiKey
from libs.bus.memory import MemoryBus
from libs.runtime.acts import Act
from libs.runtime.clock import ManualClock
from libs.schemas.values import TenantId, microseconds, rfc3339
from libs.store.pool import transaction
from services.metering.domain.comparing import Verdict
from services.metering.domain.gauges import Span
from services.metering.domain.identity import Fingerprints
from services.metering.handlers.asking import Asking, Listed
from services.metering.handlers.recomputing import Asked, Recomputation
from services.metering.settings import MeteringSettings
from services.metering.store import corrections, ids
from services.metering.store.archive.folder import ArchiveFolder
from tests.support.archive import until_archived
from tests.support.conditions import eventually
from tests.support.corrections import WHY, amounts, answered, ask, correct, corrector
from tests.support.metering import default_meters
from tests.support.metering_world import World, metering_world

ACT = Act("key_tests", "request-1", "a list of mistakes")
HOUR_US = 3_600_000_000


@pytest.fixture
def archiving(settings: MeteringSettings, tmp_path: Path) -> MeteringSettings:
    return settings.model_copy(update={"archive": True, "archive_dir": tmp_path / "archive", "archive_max_age_s": 0.05})


@pytest.fixture
async def world(archiving: MeteringSettings, broker: MemoryBus, clock: ManualClock) -> AsyncIterator[World]:
    async with metering_world(archiving, broker, clock) as served:
        yield served


@pytest.fixture
async def tenant(world: World) -> TenantId:
    return await world.new_tenant()


@pytest.fixture
async def key(world: World, tenant: TenantId) -> ApiKey:
    return await corrector(world, tenant)


async def disagreeing(world: World, folder: Path, tenant: TenantId, metric: str) -> list[Any]:
    """The windows that differ from what the archive and the corrections say; some can be told."""
    now_us = microseconds(world.clock.now())
    around = Span(now_us - now_us % 900_000_000 - 72 * HOUR_US, now_us - now_us % 900_000_000 + 72 * HOUR_US)
    by = Recomputation(world.bus, world.pool, ArchiveFolder(folder), default_meters(), world.clock)
    found = await by.run(Asked(tenant, (metric,), around))
    assert Verdict.AGREES in {one.verdict for one in found.windows}
    return [one for one in found.windows if one.verdict is Verdict.DIFFERS]


async def test_a_void_takes_out_exactly_what_the_event_counted(
    world: World, tenant: TenantId, key: ApiKey, archiving: MeteringSettings
) -> None:
    await world.send(tenant, world.event(tenant, "good", "0.1"), world.event(tenant, "bad", "9007199254740993.7"))
    await world.until_total(tenant, "9007199254740993.8")
    found = await correct(world, key, "bad")
    assert (found["state"], found["number"], found["reason"]) == ("applied", 1, "a test said so")
    assert (amounts(found["before"]), found["after"]) == ({"ingest_events": "9007199254740993.7"}, [])
    assert await world.total(tenant) == Decimal("0.1")
    await world.until_told(tenant, "ingest_events", "0.1")
    assert [one.value for one in await world.windows_told(tenant)][-1] == Decimal("0.1")
    assert await disagreeing(world, archiving.archive_folder, tenant, "ingest_events") == []


async def test_an_amendment_counts_every_digit_of_its_data(
    world: World, tenant: TenantId, key: ApiKey, archiving: MeteringSettings
) -> None:
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    headers = WHY | {"content-type": "application/json", "authorization": f"Bearer {key.text}"}
    body = '{"action": "amend", "source": "test", "id": "1", "data": {"maestro.ingest.events": 9007199254740993.25}}'
    asked = await world.client.post("/v1/corrections", content=body, headers=headers)
    found = await answered(world, key, asked)
    assert amounts(found["after"]) == {"ingest_events": "9007199254740993.25"}
    assert await world.total(tenant) == Decimal("9007199254740993.25")
    assert await disagreeing(world, archiving.archive_folder, tenant, "ingest_events") == []


async def test_a_copy_of_a_voided_event_is_a_copy_and_an_amendment_brings_it_back(
    world: World, tenant: TenantId, key: ApiKey
) -> None:
    event = world.event(tenant, "1", 5)
    await world.send(tenant, event)
    await world.until_total(tenant, 5)
    await correct(world, key, "1")
    await world.send(tenant, event)
    await world.until_all_is_counted()
    assert await world.total(tenant) == 0
    again = await correct(world, key, "1")
    assert (again["state"], again["detail"]) == ("refused", "the event is void already")
    back = await correct(world, key, "1", event["data"])
    assert (back["state"], back["number"], back["before"]) == ("applied", 3, [])
    assert await world.total(tenant) == 5
    shown = await world.explain(tenant, "1")
    assert (shown["status"], shown["corrected"], shown["duplicate_count"]) == ("counted", "amended", 1)
    assert [(one["number"], one["state"]) for one in shown["corrections"]] == [
        (1, "applied"),
        (2, "refused"),
        (3, "applied"),
    ]


async def test_corrections_that_came_together_are_answered_in_order(
    world: World, tenant: TenantId, key: ApiKey
) -> None:
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    await until_archived(world.bus, world.pool)
    asked = [await ask(world, key, "1", {"maestro.ingest.events": amount}) for amount in (7, 8, 9)]
    found = [await answered(world, key, one) for one in asked]
    assert [(amounts(one["before"]), amounts(one["after"])) for one in found] == [
        ({"ingest_events": old}, {"ingest_events": new}) for old, new in (("5", "7"), ("7", "8"), ("8", "9"))
    ]
    assert await world.total(tenant) == 9


async def test_an_amendment_that_no_meter_takes_changes_nothing(world: World, tenant: TenantId, key: ApiKey) -> None:
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    negative = await correct(world, key, "1", {"maestro.ingest.events": -1})
    nothing = await correct(world, key, "1", {"colour": "green"})
    assert (negative["state"], nothing["state"]) == ("refused", "refused")
    assert "ingest_events" in negative["detail"]
    assert "no meter" in nothing["detail"]
    assert await world.total(tenant) == 5


async def test_what_is_corrected_after_the_close_is_an_adjustment_with_its_name(
    world: World, tenant: TenantId, key: ApiKey, archiving: MeteringSettings
) -> None:
    await world.send(tenant, world.event(tenant, "1", 5), world.event(tenant, "2", 7))
    await world.until_total(tenant, 12)
    await world.ask_close(world.close_of(tenant))
    await world.until_closed(tenant)
    await world.send(tenant, world.event(tenant, "late", 3))
    await world.until_all_is_counted()
    voided = await correct(world, key, "1")
    await correct(world, key, "2", {"maestro.ingest.events": 10})
    await correct(world, key, "late")
    rows = await world.pool.fetch(
        "SELECT reason, event_id, value, period FROM usage_adjustment ORDER BY event_id, reason"
    )
    assert [tuple(row) for row in rows] == [
        ("void", "1", -5, "2026-11"),
        ("amendment", "2", 3, "2026-11"),
        ("late_event", "late", 3, "2026-11"),
        ("void", "late", -3, "2026-11"),
    ]
    assert voided["state"] == "applied"
    assert await world.total(tenant) == 12
    assert await disagreeing(world, archiving.archive_folder, tenant, "ingest_events") == []


async def test_the_last_level_of_a_gauge_can_be_voided(
    world: World, tenant: TenantId, key: ApiKey, clock: ManualClock, archiving: MeteringSettings
) -> None:
    noon = clock.now()
    hours = [rfc3339(noon - timedelta(hours=hour)) for hour in (3, 1)]
    await world.send(
        tenant, world.level(tenant, "1", 10, time=hours[0]), world.level(tenant, "2", 1_000, time=hours[1])
    )
    await world.until_total(tenant, 2 * 10 * HOUR_US + 1_000 * HOUR_US - 1_000 * 5_000_000, "storage_gb")
    found = await correct(world, key, "2")
    assert found["before"] == [{"metric": "storage_gb", "amount": "1000", "resource": ""}]
    await world.until_total(tenant, 3 * 10 * HOUR_US - 10 * 5_000_000, "storage_gb")
    rows = await world.pool.fetch("SELECT level FROM gauge_resource")
    assert [row["level"] for row in rows] == [10]
    told = await world.until_told(tenant, "storage_gb", (await world.windows_told(tenant))[-1].value)
    assert told.last_gauge == 10
    assert await disagreeing(world, archiving.archive_folder, tenant, "storage_gb") == []


async def test_a_level_can_be_amended_and_moved_to_another_resource(
    world: World, tenant: TenantId, key: ApiKey, clock: ManualClock, archiving: MeteringSettings
) -> None:
    at = rfc3339(clock.now() - timedelta(hours=1))
    await world.send(tenant, world.level(tenant, "1", 1_000, time=at))
    held_us = HOUR_US - 5_000_000
    await world.until_total(tenant, 1_000 * held_us, "storage_gb")
    moved = {"maestro.storage.bytes": 10, "maestro.storage.resource": "other"}
    found = await correct(world, key, "1", moved)
    assert found["after"] == [{"metric": "storage_gb", "amount": "10", "resource": "other"}]
    await world.until_total(tenant, 10 * held_us, "storage_gb")
    await correct(world, key, "1")
    await world.until_total(tenant, 0, "storage_gb")
    await correct(world, key, "1", {"maestro.storage.bytes": 20})
    await world.until_total(tenant, 20 * held_us, "storage_gb")
    assert await disagreeing(world, archiving.archive_folder, tenant, "storage_gb") == []


async def test_a_level_of_a_closed_period_is_corrected_by_adjustments(
    world: World, tenant: TenantId, key: ApiKey, clock: ManualClock
) -> None:
    at = rfc3339(clock.now() - timedelta(hours=1))
    await world.send(tenant, world.level(tenant, "1", 1_000, time=at))
    await world.until_total(tenant, 1_000 * (HOUR_US - 5_000_000), "storage_gb")
    await world.ask_close(world.close_of(tenant))
    await world.until_closed(tenant)
    frozen = await world.total(tenant, "storage_gb")
    await correct(world, key, "1")

    async def adjusted() -> bool:
        found = await world.pool.fetchval("SELECT sum(value) FROM usage_adjustment WHERE reason = 'gauge_changed'")
        return bool(found == -frozen)

    await eventually(adjusted, "the whole level is adjusted away")
    assert await world.total(tenant, "storage_gb") == frozen


async def test_an_event_that_is_not_archived_yet_waits_and_says_so(
    archiving: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    slow = archiving.model_copy(update={"archive_max_age_s": 3_600.0})
    async with metering_world(slow, broker, clock) as world:
        tenant = await world.new_tenant()
        key = await corrector(world, tenant)
        await world.send(tenant, world.event(tenant, "1", 5))
        await world.until_total(tenant, 5)
        asked = await ask(world, key, "1")
        seen: list[str] = []

        async def says_so() -> bool:
            found = (await world.get(asked.headers["location"], key)).json()
            seen.append(found["state"])
            return bool(found["waits_for"] == "the archive, which does not hold the event yet")

        await eventually(says_so, "the correction says what it waits for")
        assert set(seen) == {"requested"}
        assert await world.total(tenant) == 5
    async with metering_world(archiving, broker, clock) as world:
        world.keys[tenant] = key
        await world.until_total(tenant, 0)


async def test_what_was_counted_before_there_was_an_archive_is_refused(
    settings: MeteringSettings, archiving: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    async with metering_world(settings, broker, clock) as world:
        tenant = await world.new_tenant()
        key = await corrector(world, tenant)
        await world.send(tenant, world.event(tenant, "1", 5))
        await world.until_total(tenant, 5)
        refused = await ask(world, key, "1")
        assert (refused.status_code, refused.json()["error"]) == (409, "no_archive")
        topic_id = (await broker.topic_ids(["usage-shards"]))["usage-shards"]
        await world.pool.execute(
            "INSERT INTO consumer_offset (consumer, topic_id, topic, partition, next, owner_epoch, instance) SELECT "
            "'metering.archive', topic_id, topic, partition, next, 1, 'gone' FROM consumer_offset WHERE topic_id = $1",
            topic_id,
        )
    async with metering_world(archiving, broker, clock) as world:
        world.keys[tenant] = key
        await world.send(tenant, *(world.event(tenant, f"new-{n}") for n in range(64)))
        await world.until_total(tenant, 69)
        await until_archived(world.bus, world.pool)
        found = await correct(world, key, "1")
        assert found["state"] == "refused"
        assert await world.total(tenant) == 69


async def test_a_list_of_events_is_voided_once_however_often_it_is_asked_for(
    world: World, tenant: TenantId, archiving: MeteringSettings
) -> None:
    names = [str(number) for number in range(300)]
    await world.send(tenant, *(world.event(tenant, name, 2) for name in names))
    await world.until_total(tenant, 600)
    listed = Listed(uuid4(), [("test", name) for name in [*names[:250], "unknown"]])
    async with transaction(world.pool) as tx:
        desk = Asking(Fingerprints(await ids.fingerprint_secret(tx)), is_archived=True)
        assert await desk.void_listed(tx, tenant, listed, ACT) == [("test", "unknown")]
    async with transaction(world.pool) as tx:
        assert await desk.void_listed(tx, tenant, listed, ACT) == [("test", "unknown")]
    await world.until_total(tenant, 100)
    async with transaction(world.pool) as tx:
        assert await corrections.counts(tx, listed.list_id) == (0, 250, 0)
    assert await disagreeing(world, archiving.archive_folder, tenant, "ingest_events") == []


async def test_a_request_that_is_repeated_under_its_key_is_one_correction(
    world: World, tenant: TenantId, key: ApiKey
) -> None:
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    once = {"idempotency-key": "7"}
    first, second = await ask(world, key, "1", headers=once), await ask(world, key, "1", headers=once)
    assert first.headers["location"] == second.headers["location"]
    assert await world.pool.fetchval("SELECT count(*) FROM usage_correction") == 1


async def test_who_corrects_must_say_why_and_be_allowed_to(world: World, tenant: TenantId, key: ApiKey) -> None:
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    silent = await world.post("/v1/corrections", key, {"action": "void", "source": "test", "id": "1"})
    ordinary = await ask(world, world.keys[tenant], "1")
    unknown = await ask(world, key, "2")
    assert (silent.status_code, silent.json()["error"]) == (400, "bad_reason")
    assert ordinary.status_code == 403
    assert (unknown.status_code, unknown.json()["error"]) == (404, "unknown_event")
    assert await world.pool.fetchval("SELECT count(*) FROM usage_correction") == 0


async def test_an_operator_corrects_for_a_tenant_and_the_record_of_changes_says_so(
    world: World, tenant: TenantId, broker: MemoryBus
) -> None:
    operator = await world.new_key("operator")
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    await correct(world, operator, "1", tenant=tenant)
    await world.until_total(tenant, 0)
    listed = await world.get("/v1/corrections", operator, tenant=tenant, source="test", id="1")
    assert [one["actor"] for one in listed.json()["items"]] == [operator.key_id]

    async def said() -> bool:
        return any(b"correction.requested" in (one.value or b"") for one in broker.records("metering-audit"))

    await eventually(said, "the record of changes was told")


async def test_corrections_are_listed_page_by_page_the_newest_first(
    world: World, tenant: TenantId, key: ApiKey
) -> None:
    await world.send(tenant, *(world.event(tenant, name) for name in "abc"))
    await world.until_total(tenant, 3)
    for name in "abc":
        await correct(world, key, name)
    first = (await world.get("/v1/corrections", key, limit=2)).json()
    second = (await world.get("/v1/corrections", key, limit=2, cursor=first["next_cursor"])).json()
    assert [one["id"] for one in (*first["items"], *second["items"])] == ["c", "b", "a"]
    assert second["next_cursor"] is None
