"""quota's rows on a real PostgreSQL: seeded once, assigned once, the newest gauge kept, however often it is said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from libs.bus.envelope import EventMeta, Received
from libs.bus.records import Record
from libs.runtime.acts import Act
from libs.runtime.clock import ManualClock
from libs.schemas.events import ChangeRecorded, TenantChanged, TenantPlanChanged
from libs.store.opening import Pools
from libs.store.pool import Pool, transaction
from services.quota.domain.catalogue import read_catalogue
from services.quota.errors import UnknownPlan
from services.quota.handlers import Assigning, Held
from services.quota.settings import QuotaSettings
from services.quota.store import MIGRATIONS, gauges
from tests.support.access import tenant_changed
from tests.support.quota_plans import NOON, TENANT
from tests.support.stores import pools_on

CATALOGUE = QuotaSettings().plans_file.read_text("utf-8")
DOCUMENTS = read_catalogue(CATALOGUE, name="plans.yaml")
DEARER = read_catalogue(CATALOGUE.replace('gql_per_million: "2"', 'gql_per_million: "2.5"', 1), name="plans.yaml")
HOUR = timedelta(hours=1)
BY = Act("an-operator", "request-1", "upgrade")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def assigning(clock: ManualClock) -> Assigning:
    return Assigning(clock)


@pytest.fixture
async def pools(fresh_database: Callable[..., str]) -> AsyncIterator[Pools]:
    async with pools_on(fresh_database("quota"), [MIGRATIONS]) as opened:
        yield opened


@pytest.fixture
async def pool(pools: Pools, assigning: Assigning) -> Pool:
    async with transaction(pools.worker) as tx:
        await assigning.seed(tx, DOCUMENTS)
    return pools.worker


async def said(pool: Pool) -> list[str]:
    """The keys of all that was said, in order."""
    return [bytes(row["key"]).decode() for row in await pool.fetch("SELECT key FROM outbox ORDER BY id")]


async def last_said(pool: Pool) -> TenantPlanChanged:
    return TenantPlanChanged.model_validate_json(
        await pool.fetchval("SELECT value FROM outbox ORDER BY id DESC LIMIT 1")
    )


async def recorded(pool: Pool) -> list[ChangeRecorded]:
    rows = await pool.fetch("SELECT value FROM outbox WHERE topic = 'quota-audit' ORDER BY id")
    return [ChangeRecorded.model_validate_json(row["value"]) for row in rows]


def received(event: TenantChanged) -> Received[TenantChanged]:
    meta = EventMeta("1", "identity", event.TYPE, None, NOON, None, 1, 1)
    return Received(event, meta, Record("tenant-changes", 0, 0, None, None, (), 0))


async def register(pool: Pool, assigning: Assigning, plan_id: str = "starter") -> None:
    event = tenant_changed(TENANT, plan_id=plan_id, changed_at=NOON + timedelta(minutes=7))
    async with transaction(pool) as tx:
        await assigning.on_tenant_changed(tx, received(event))


async def assign(pools: Pools, assigning: Assigning, plan_id: str, effective_at: datetime | None = None) -> Held:
    async with transaction(pools.api, tenant=TENANT) as tx:
        return await assigning.assign(tx, TENANT, plan_id, effective_at, BY)


async def test_the_catalogue_lies_in_the_table_of_the_brief(pool: Pool) -> None:
    row = await pool.fetchrow("SELECT name, limits, price_map FROM plans WHERE id = 'enterprise'")

    assert row is not None
    assert row["name"] == "Enterprise"
    assert json.loads(row["limits"]) == {"qps": 200, "events_s": 5000, "storage_gb": 2000}
    assert json.loads(row["price_map"], parse_float=Decimal) == {"gql_per_million": 2, "ingest_per_k": Decimal("0.1")}


async def test_the_same_documents_again_change_and_say_nothing(pool: Pool, assigning: Assigning) -> None:
    before = await said(pool)

    async with transaction(pool) as tx:
        added = await assigning.seed(tx, DOCUMENTS)

    assert added == []
    assert await said(pool) == before == ["plan/starter/1", "plan/pro/1", "plan/enterprise/1"]


async def test_a_changed_document_is_the_next_version_and_the_old_one_stays(pool: Pool, assigning: Assigning) -> None:
    async with transaction(pool) as tx:
        await assigning.seed(tx, DEARER)

    prices = await pool.fetch(
        "SELECT version, price_map->>'gql_per_million' AS price FROM plan_version WHERE plan_id = 'starter' ORDER BY 1"
    )
    assert [tuple(row) for row in prices] == [(1, "2"), (2, "2.5")]
    assert await pool.fetchval("SELECT version FROM plans WHERE id = 'starter'") == 2
    assert (await said(pool))[-1] == "plan/starter/2"


async def test_a_new_tenant_gets_its_plan_from_the_quarter_of_an_hour_it_came_in(
    pool: Pool, assigning: Assigning, clock: ManualClock
) -> None:
    clock.advance(HOUR)

    await register(pool, assigning)

    assert await pool.fetchval("SELECT effective_at FROM tenant_plan WHERE tenant_id = $1", TENANT) == NOON
    assert (await last_said(pool)).assignments[0].effective_at == NOON


async def test_a_tenant_heard_of_twice_is_assigned_once(pool: Pool, assigning: Assigning) -> None:
    await register(pool, assigning)
    before = await said(pool)

    await register(pool, assigning)

    assert await said(pool) == before


async def test_a_tenant_with_an_unknown_plan_is_set_aside(pool: Pool, assigning: Assigning) -> None:
    with pytest.raises(UnknownPlan):
        await register(pool, assigning, "platinum")


async def test_all_assignments_are_said_oldest_first(
    pools: Pools, pool: Pool, assigning: Assigning, clock: ManualClock
) -> None:
    await register(pool, assigning)
    clock.advance(HOUR)

    await assign(pools, assigning, "enterprise")

    plans = [(one.plan_id, one.effective_at) for one in (await last_said(pool)).assignments]
    assert plans == [("starter", NOON), ("enterprise", NOON + HOUR)]
    assert await pool.fetchval("SELECT plan_id FROM tenant_plan WHERE tenant_id = $1", TENANT) == "enterprise"


async def test_a_change_keeps_who_made_it_in_which_request_and_why(
    pools: Pools, pool: Pool, assigning: Assigning, clock: ManualClock
) -> None:
    await register(pool, assigning)
    clock.advance(HOUR)

    await assign(pools, assigning, "pro")

    rows = await pool.fetch("SELECT actor, request_id, reason FROM tenant_plan_history ORDER BY assignment_id")
    assert [tuple(row) for row in rows] == [("registration", "1", None), ("an-operator", "request-1", "upgrade")]
    [change] = await recorded(pool)
    assert (change.action, change.subject, change.tenant_id) == ("plan.assigned", f"tenant/{TENANT}", TENANT)
    assert (change.actor, change.request_id, change.reason) == ("an-operator", "request-1", "upgrade")
    assert change.details["plan"] == "pro/1"


async def test_what_was_planned_and_given_up_is_kept_as_withdrawn(
    pools: Pools, pool: Pool, assigning: Assigning, clock: ManualClock
) -> None:
    await register(pool, assigning)
    clock.advance(HOUR)
    await assign(pools, assigning, "pro", NOON + 9 * HOUR)

    held = await assign(pools, assigning, "enterprise")

    await assign(pools, assigning, "enterprise")  # again: no change, and none is recorded

    assert [change.details["plan"] for change in await recorded(pool)] == ["pro/1", "enterprise/1"]
    withdrawn = await pool.fetch("SELECT plan_id FROM tenant_plan_history WHERE withdrawn_at IS NOT NULL")
    assert [row["plan_id"] for row in withdrawn] == ["pro"]
    assert held.plan.plan_id == "enterprise"
    assert held.planned == []


async def test_moving_to_the_new_version_of_the_same_plan_takes_asking(
    pools: Pools, pool: Pool, assigning: Assigning, clock: ManualClock
) -> None:
    await register(pool, assigning)
    async with transaction(pool) as tx:
        await assigning.seed(tx, DEARER)
    clock.advance(HOUR)

    async with transaction(pools.api, tenant=TENANT) as tx:
        before = await assigning.held(tx, TENANT)
    after = await assign(pools, assigning, "starter")

    assert (before.plan.version, after.plan.version) == (1, 2)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ((1, NOON, 5), (1, NOON, 6), 2),
        ((1, NOON, 6), (1, NOON, 5), 1),
        ((1, NOON, 6), (1, NOON, 6), 1),
        ((1, NOON + HOUR, 5), (1, NOON, 99), 1),
        ((1, NOON + HOUR, 5), (2, NOON, 1), 2),
    ],
    ids=["newer total", "older total", "said twice", "corrected old window", "after a restore"],
)
async def test_the_newest_gauge_wins_in_whatever_order_they_come(
    pool: Pool, first: tuple[int, datetime, int], second: tuple[int, datetime, int], kept: int
) -> None:
    async with transaction(pool) as tx:
        for stored_bytes, (epoch, window_start, seq) in enumerate((first, second), start=1):
            await gauges.keep_gauge(
                tx, TENANT, Decimal(stored_bytes), store_epoch=epoch, window_start=window_start, seq=seq
            )

        assert await gauges.stored_bytes_of(tx, TENANT) == kept


async def test_a_tenant_of_whom_no_gauge_was_seen_stores_nothing(pool: Pool) -> None:
    async with transaction(pool) as tx:
        assert await gauges.stored_bytes_of(tx, TENANT) == 0
