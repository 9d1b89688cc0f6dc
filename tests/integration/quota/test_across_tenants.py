"""No key reads or changes another tenant's plan, or spends its limits."""

from __future__ import annotations

import pytest

from tests.support.across_tenants import Trial, try_across
from tests.support.answers import Ask, Stage
from tests.support.quota_service import Quota, fresh_tenant_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECK = Ask("POST", "/v1/check")
PLANS = Ask("GET", "/v1/plans")
SHOW = Ask("GET", "/v1/tenants/{tenant_id}/plan")
PUT = Ask("PUT", "/v1/tenants/{tenant_id}/plan", json={"plan_id": "enterprise"})


async def test_every_route_keeps_tenants_apart(quota: Quota) -> None:
    my_id, mine = await quota.new_tenant()
    their_id, their_key = await quota.new_tenant("pro")
    edge = await quota.new_key("edge", act_for=(my_id,))
    stage = Stage(quota.app, {"mine": mine, "edge": edge}, {"tenant_id": their_id})
    nobody = {"tenant_id": fresh_tenant_id()}
    trials = [
        Trial(
            CHECK.but(json={"limit": "qps", "tenant": their_id}),
            403,
            403,
            CHECK.but(json={"limit": "qps", "tenant": nobody["tenant_id"]}),
        ),
        Trial(CHECK.but(json={"limit": "qps", "token": their_key}), 403, 403),
        Trial(PLANS, 200, 200),
        Trial(SHOW, 404, 404, SHOW.but(names=nobody)),
        Trial(PUT, 403, 403, PUT.but(names=nobody)),
    ]

    await try_across(stage, trials, theirs=[their_key, '"pro","version":1},"effective_at"'])

    answer = await quota.check(their_key, limit="qps", cost=1)
    assert answer.json()["plan"]["id"] == "pro"
