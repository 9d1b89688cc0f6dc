"""The loop that issues: it knows all published plans before it prices, and one bad close holds up no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from libs.access.keys import ApiKey
from libs.bus.memory import MemoryBus
from libs.bus.topics import topics_of
from libs.runtime.background import background
from libs.schemas.values import TenantId
from libs.store.pool import Pool, transaction
from services.invoicing.consumer import SERVICE, Hearing, Issuing, consumers
from services.invoicing.handlers import BEHIND
from tests.support.access import api_key, tenant_id
from tests.support.bus import furnished_memory
from tests.support.conditions import eventually
from tests.support.invoicing import (
    AFTER,
    OCTOBER,
    at,
    copied,
    period_closed,
    plan_changed,
    requested,
    tenant_plan_changed,
    totalled,
)
from tests.support.invoicing_rows import Desk, FreshDatabase, received
from tests.support.invoicing_world import World, invoicing_world

TENANT = tenant_id(3)
OPERATOR = api_key(1)
COPY = copied("gql_calls", 5, 1_000_000, tenant=TENANT)


@pytest.fixture
async def bus() -> MemoryBus:
    made = MemoryBus()
    await made.ensure_topics(topics_of(SERVICE))
    return made


async def frozen_on_starter(pool: Pool, desk: Desk) -> None:
    """October is frozen, and as far as we have read the tenant was on Starter all the time."""
    async with transaction(pool) as tx:
        await desk.know(tx, TENANT)
        await desk.copying.on_plan_changed(tx, received(plan_changed()))
        plan = tenant_plan_changed(("starter", 1, OCTOBER.starts_at)).model_copy(update={"tenant_id": TENANT})
        await desk.copying.on_tenant_plan_changed(tx, received(plan))
        await desk.windows(tx, totalled("gql_calls", 5, 1_000_000, tenant=TENANT))
        await desk.request(tx, TENANT)
        await desk.closing.on_period_closed(tx, period_closed([COPY], close=requested(TENANT)))


async def test_a_plan_that_was_published_and_is_not_read_yet_holds_the_invoice_until_it_is(
    pool: Pool, desk: Desk, bus: MemoryBus
) -> None:
    await frozen_on_starter(pool, desk)
    quota = World(bus, None, pool)  # type: ignore[arg-type]  # it only says things here
    moved = tenant_plan_changed(("starter", 1, OCTOBER.starts_at), ("pro", 1, at(5))).model_copy(
        update={"tenant_id": TENANT, "changed_at": AFTER}
    )
    await quota.say("plan-changes", plan_changed("pro", gql="7"), key="plan/pro/1")
    await quota.say("plan-changes", moved, key=f"tenant/{TENANT}")
    issuing = Issuing(bus, pool, desk.billing, desk.clock)

    await issuing.sweep()
    async with transaction(pool) as tx:
        before = await desk.progress(tx, requested(TENANT).close_id)

    reader = consumers(bus, pool, "0", Hearing(desk.copying, desk.closing, desk.recalling))["plans"]
    async with background("consumer of plans", reader.run()):

        async def issued() -> bool:
            await issuing.sweep()
            return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM invoices)"))

        await eventually(issued, "the invoice is issued once the plans are read")

    assert (before.status, before.waits_for) == ("frozen", BEHIND)
    assert await pool.fetchval("SELECT total FROM invoices") == Decimal("7.00")


@pytest.fixture
async def world(fresh_database: FreshDatabase) -> AsyncIterator[World]:
    async with invoicing_world(fresh_database("invoicing"), await furnished_memory()) as opened:
        await opened.operator(OPERATOR)
        await opened.say("plan-changes", plan_changed(), key="plan/starter/1")
        yield opened


async def closed(world: World, tenant: TenantId, key: ApiKey = OPERATOR, total: int | None = None) -> str:
    """Freeze October of a tenant with one window; `total` is what metering says it froze."""
    await world.know_tenant(tenant)
    close = await world.until_known(key, tenant, "2026-10")
    plan = tenant_plan_changed(("starter", 1, at(0))).model_copy(update={"tenant_id": tenant})
    copy = copied("gql_calls", 5, 1_000_000, tenant=tenant)
    totals = {"gql_calls": Decimal(total)} if total is not None else None
    await world.say("plan-changes", plan, key=f"tenant/{tenant}")
    await world.say("usage-windows", totalled("gql_calls", 5, 1_000_000, tenant=tenant), key=tenant)
    await world.say("usage-windows", period_closed([copy], close=requested(tenant), totals=totals), key=tenant)
    return str(close["close_id"])


async def test_a_close_that_cannot_be_issued_says_why_and_holds_up_no_other(world: World) -> None:
    wrong = await closed(world, tenant_id(1), total=1_000_001)
    right = await closed(world, tenant_id(2))

    await world.until(OPERATOR, right, "issued")
    why = "CopyDiffers: gql_calls: our windows give 1000000, metering froze 1000001"

    async def says_why() -> bool:
        seen = (await world.get(f"/v1/closes/{wrong}", OPERATOR)).json()
        return bool((seen["status"], seen["waits_for"]) == ("frozen", why))

    await eventually(says_why, "the close that cannot be issued says why")
    assert [invoice.number for invoice, _ in await world.invoices_said(tenant_id(2))] == ["MST-000001"]


async def test_what_cannot_be_understood_is_set_aside_and_what_stands_behind_it_is_taken(world: World) -> None:
    tenant = tenant_id(4)
    damaged = totalled("gql_calls", 5, 3, tenant=tenant).model_copy(update={"value": Decimal(4)})
    await world.say("usage-windows", damaged, key=tenant)
    await world.say("usage-windows", period_closed(close=requested(tenant_id(5))), key=tenant)

    await world.until(OPERATOR, await closed(world, tenant), "issued")

    assert isinstance(world.bus, MemoryBus)
    reasons = [record.header("maestro_reason") for record in world.bus.records("usage-windows-dlq")]
    assert reasons == [b"wrong_digest", b"unknown_close"]


async def test_a_batch_of_many_windows_is_taken_whole(world: World) -> None:
    tenant = tenant_id(6)
    for window in range(700):
        await world.say("usage-windows", totalled("ingest_events", window, window, tenant=tenant), key=tenant)
    counted = "SELECT count(*) FROM usage_window_copy WHERE tenant_id = $1"

    async def taken() -> bool:
        return bool(await world.pool.fetchval(counted, tenant) == 700)

    await eventually(taken, "all windows are taken")
