"""Every status that the documents name for quota's routes is answered, and no other."""

from __future__ import annotations

import pytest

from tests.support.answers import Ask, Stage, drive
from tests.support.conditions import eventually
from tests.support.quota_service import Quota, fresh_tenant_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECK = Ask("POST", "/v1/check", "tenant", json={"limit": "qps"})
FULL = CHECK.but(key="full", json={"limit": "storage_gb"})
PLANS = Ask("GET", "/v1/plans", "tenant")
SHOW = Ask("GET", "/v1/tenants/{tenant_id}/plan", "tenant")
PUT = Ask("PUT", "/v1/tenants/{tenant_id}/plan", "operator", json={"plan_id": "pro"})
GOOD = [(200, ask) for ask in (CHECK, PLANS, SHOW, PUT)]
PAST = "2026-01-01T00:00:00Z"


async def test_every_documented_status_is_answered(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()
    powerless = await quota.new_key("tenant", tenant_id=tenant_id, scopes=())
    full_id, full_key = await quota.new_tenant()
    await quota.hear_of_storage(full_id, 200 * 10**9)
    stranger = {"tenant_id": fresh_tenant_id()}
    keys = {"tenant": key, "operator": quota.operator, "powerless": powerless, "full": full_key}
    stage = Stage(quota.app, keys, {"tenant_id": tenant_id})

    async def is_full() -> bool:
        return (await stage.answer(FULL)).status_code == 429

    await eventually(is_full, "the gauge is known")
    own = [
        (400, CHECK.but(json={"limit": "cpu"})),
        (422, CHECK.but(json={"limit": "qps", "cost": 100_000})),
        (429, FULL),
        (400, PLANS.but(query={"cursor": "nonsense"})),
        (400, SHOW.but(names={"tenant_id": "acme"})),
        (404, SHOW.but(names=stranger)),
        (400, PUT.but(content=b"{", json=None, headers={"content-type": "application/json"})),
        (404, PUT.but(names=stranger)),
        (409, PUT.but(json={"plan_id": "pro", "effective_at": PAST})),
        (422, PUT.but(json={"plan_id": "platinum"})),
    ]
    await drive(stage, GOOD, own)
