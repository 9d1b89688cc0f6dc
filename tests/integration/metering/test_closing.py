"""Closing a period: everything acknowledged before is in it, nothing after changes it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from libs.runtime.clock import ManualClock
from libs.schemas.events import PeriodClosed, WindowTotalled
from libs.schemas.values import TenantId, rfc3339
from libs.schemas.zones import TZDATA_VERSION
from services.metering.settings import MeteringSettings
from tests.support.conditions import eventually
from tests.support.metering_world import Json, World
from tests.support.stores import as_owner

HOUR_US = 3_600_000_000


async def frozen_are_told(world: World, closed: PeriodClosed) -> None:
    """Wait until every frozen window was told in exactly the frozen state."""
    frozen = {(one.metric, one.window_start, one.store_epoch, one.seq, one.digest) for one in closed.windows}

    async def told() -> bool:
        found = await world.windows_told(closed.tenant_id)
        return frozen <= {(one.metric, one.window_start, one.store_epoch, one.seq, one.digest) for one in found}

    await eventually(told, "every frozen window is told", every_s=0.2)


async def test_a_close_holds_all_that_was_acknowledged_before_it_was_asked_for(on_kafka: World) -> None:
    world = on_kafka
    tenant = await world.new_tenant()
    for lot in range(10):
        events = [world.event(tenant, f"{lot}-{number}") for number in range(100)]
        assert (await world.send(tenant, *events)).status_code == 204
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    assert closed.totals == {"ingest_events": 1000}
    assert closed.tzdata_version == TZDATA_VERSION
    await frozen_are_told(world, closed)


async def test_what_comes_after_the_close_is_a_named_adjustment(world: World) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    await world.send(tenant, world.event(tenant, "late", 7))
    await world.until_all_is_counted()
    assert await world.total(tenant) == 5
    found = await world.explain(tenant, "late")
    assert (found["status"], found["adjustments"]) == (
        "adjustment",
        [{"metric": "ingest_events", "period": closed.period}],
    )
    row = await world.pool.fetchrow("SELECT * FROM usage_adjustment WHERE tenant_id = $1", tenant)
    assert row is not None
    assert (row["value"], row["close_id"], row["event_id"], row["reason"]) == (7, closed.close_id, "late", "late_event")


async def test_a_late_copy_of_a_closed_event_is_no_adjustment(world: World) -> None:
    tenant = await world.new_tenant()
    event = world.event(tenant, "1", 5)
    await world.send(tenant, event)
    await world.ask_close(world.close_of(tenant))
    await world.until_closed(tenant)
    await world.send(tenant, event)
    await world.until_all_is_counted()
    assert await world.pool.fetchval("SELECT count(*) FROM usage_adjustment") == 0


async def test_one_tenants_close_leaves_the_others_open(world: World) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    await world.ask_close(world.close_of(tenant))
    await world.until_closed(tenant)
    await world.send(other, world.event(other, "1", 5))
    await world.until_total(other, 5)


async def test_a_request_delivered_twice_closes_once(world: World) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5))
    first, later = world.close_of(tenant), world.close_of(tenant)
    await world.ask_close(first, times=2)
    await world.ask_close(later)
    said = await world.until_closed(tenant, 2)
    assert len(said) == 2
    assert said[0] == said[1]
    assert said[0].close_id in {first.close_id, later.close_id}


async def test_a_period_without_usage_closes_empty(world: World) -> None:
    tenant = await world.new_tenant()
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    assert (closed.windows, closed.totals) == ((), {})


async def test_a_request_that_does_not_fit_the_zones_rules_is_set_aside(world: World) -> None:
    tenant = await world.new_tenant()
    month = world.close_of(tenant)
    shifted = month.model_copy(update={"starts_at": month.starts_at + timedelta(hours=1)})
    await world.ask_close(shifted)
    await world.ask_close(world.close_of(tenant, early=False))
    await world.ask_close(world.close_of(tenant))
    assert len(await world.until_closed(tenant)) == 1

    async def set_aside() -> bool:
        return sum((await world.bus.end_offsets("close-requests-dlq")).values()) == 2

    await eventually(set_aside, "both are in the dead letter topic")


async def test_a_level_is_integrated_up_to_the_request_of_an_early_close(world: World, clock: ManualClock) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.level(tenant, "1", 1000))
    clock.advance(timedelta(hours=1))
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    assert closed.through == clock.now()
    assert closed.totals == {"storage_gb": 1000 * HOUR_US}
    await frozen_are_told(world, closed)


async def test_a_level_after_an_early_close_becomes_adjustments(world: World, clock: ManualClock) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.level(tenant, "1", 1000))
    clock.advance(timedelta(hours=1))
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    clock.advance(timedelta(hours=2, seconds=5))

    async def adjusted() -> bool:
        value = await world.pool.fetchval("SELECT sum(value) FROM usage_adjustment WHERE tenant_id = $1", tenant)
        return bool(value == 1000 * 2 * HOUR_US)

    await eventually(adjusted, "two hours of the level are adjustments")
    assert await world.total(tenant, "storage_gb") == closed.totals["storage_gb"]


async def test_a_new_level_after_an_early_close_is_told_for_the_quota_with_an_empty_later_window(
    world: World, clock: ManualClock
) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.level(tenant, "1", 1000))
    clock.advance(timedelta(hours=1))
    await world.ask_close(world.close_of(tenant))
    [closed] = await world.until_closed(tenant)
    clock.advance(timedelta(minutes=5))
    await world.send(tenant, world.level(tenant, "2", 7000))
    clock.advance(timedelta(seconds=10))

    async def told() -> bool:
        found: list[WindowTotalled] = await world.windows_told(tenant)
        return any(
            (one.window_start, one.value, one.last_gauge) == (closed.ends_at, Decimal(0), Decimal(7000))
            for one in found
        )

    await eventually(told, "the first window after the period tells the new level", every_s=0.2)


async def test_a_late_sample_adjusts_a_closed_period_and_corrects_the_open_one(
    world: World, clock: ManualClock
) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.level(tenant, "1", 1000))
    clock.step(timedelta(days=6, hours=14))  # 1 December, seven minutes past midnight
    sent_at = clock.now()
    late = rfc3339(sent_at - timedelta(minutes=22))  # a quarter to midnight
    await world.send(tenant, world.level(tenant, "2", 600, time=late))
    november = world.close_of(tenant, sent_at - timedelta(days=1), early=False)
    await world.ask_close(november)
    [closed] = await world.until_closed(tenant)
    quarter_us = HOUR_US // 4
    assert closed.totals == {"storage_gb": 1000 * 24 * HOUR_US + 600 * quarter_us}
    later_still = rfc3339(sent_at - timedelta(minutes=17))  # ten minutes to midnight
    await world.send(tenant, world.level(tenant, "3", 900, time=later_still))
    clock.advance(timedelta(minutes=8, seconds=5))

    async def settled() -> bool:
        adjusted = await world.pool.fetchval("SELECT sum(value) FROM usage_adjustment WHERE tenant_id = $1", tenant)
        december = await world.pool.fetchval(
            "SELECT value FROM usage_window WHERE tenant_id = $1 AND window_start = $2", tenant, november.ends_at
        )
        return bool(adjusted == 300 * 10 * 60_000_000 and december == 900 * quarter_us)

    await eventually(settled, "November is adjusted and December holds the late level")
    frozen = await world.pool.fetchval(
        "SELECT sum(value) FROM usage_window WHERE tenant_id = $1 AND window_start < $2", tenant, november.ends_at
    )
    assert frozen == closed.totals["storage_gb"]


async def test_a_sample_that_comes_out_of_order_corrects_its_windows(world: World, clock: ManualClock) -> None:
    tenant = await world.new_tenant()
    start = clock.now()
    await world.send(tenant, world.level(tenant, "1", 100))
    clock.advance(timedelta(hours=1, seconds=5))
    await world.until_total(tenant, 100 * HOUR_US, "storage_gb")
    await world.send(tenant, world.level(tenant, "2", 300, time=rfc3339(start + timedelta(minutes=30))))
    await world.until_total(tenant, (100 + 300) * HOUR_US // 2, "storage_gb")


async def test_the_last_level_is_told_at_once_for_the_quota(world: World) -> None:
    tenant = await world.new_tenant()
    resources = [
        {"maestro.storage.bytes": level, "maestro.storage.resource": name} for name, level in (("a", 5), ("b", 7))
    ]
    events = [world.event(tenant, str(number), data=data) for number, data in enumerate(resources)]
    await world.send(tenant, *events)

    async def told() -> bool:
        found: list[WindowTotalled] = await world.windows_told(tenant)
        return bool(found) and found[-1].last_gauge == Decimal(12)

    await eventually(told, "twelve bytes are told", every_s=0.2)


def levels_of_resources(world: World, tenant: TenantId, count: int, level: int) -> list[Json]:
    names = [str(number) for number in range(count)]
    return [
        world.event(tenant, name, data={"maestro.storage.bytes": level, "maestro.storage.resource": name})
        for name in names
    ]


async def test_a_level_beyond_a_bigint_is_told_exactly(world: World, clock: ManualClock) -> None:
    tenant, other, largest = await world.new_tenant(), await world.new_tenant(), 10**18 - 1
    assert (await world.send(tenant, *levels_of_resources(world, tenant, 12, largest))).status_code == 204
    await world.send(other, world.event(other, "1", 5))
    await world.until_told(other, "ingest_events", 5)
    clock.advance(timedelta(hours=1, seconds=5))
    await world.until_total(tenant, 12 * largest * HOUR_US, "storage_gb")

    async def told() -> bool:
        return Decimal(12 * largest) in {one.last_gauge for one in await world.windows_told(tenant)}

    await eventually(told, "the sum of twelve levels is told", every_s=0.2)


async def test_a_gauge_that_the_store_refuses_holds_up_nobody_elses(
    world: World, clock: ManualClock, settings: MeteringSettings
) -> None:
    refused, others = await world.new_tenant(), [await world.new_tenant() for _ in range(3)]
    check = f"ALTER TABLE usage_window ADD CHECK (tenant_id <> '{refused}' OR unit = '1')"
    await as_owner(settings.postgres_url, check)
    for tenant in (refused, *others):
        await world.send(tenant, world.level(tenant, "1", 100), world.event(tenant, "2", 5))
    clock.advance(timedelta(hours=1, seconds=5))
    for tenant in others:
        await world.until_total(tenant, 100 * HOUR_US, "storage_gb")
    for tenant in (refused, *others):
        await world.until_told(tenant, "ingest_events", 5)
    assert await world.pool.fetchval("SELECT dirty_from_us IS NOT NULL FROM gauge WHERE tenant_id = $1", refused)


async def test_a_level_that_is_stale_counts_no_longer(world: World, clock: ManualClock) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.level(tenant, "1", 10))
    clock.advance(timedelta(hours=30))
    await world.until_total(tenant, 10 * 24 * HOUR_US, "storage_gb")

    async def told_as_gone() -> bool:
        told = await world.windows_told(tenant)
        return bool(told) and max(told, key=lambda one: one.window_start).last_gauge == 0

    await eventually(told_as_gone, "the newest window says that nothing is stored any more")
