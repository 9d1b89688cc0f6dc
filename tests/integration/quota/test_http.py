"""quota over HTTP, on real stores and a real broker."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.conditions import eventually
from tests.support.quota_service import Quota, fresh_tenant_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

GB = 10**9
CLIENTS = 8


async def spend_all(quota: Quota, key: str, limit: str, burst: int) -> None:
    assert (await quota.check(key, limit=limit, cost=burst)).status_code == 200


async def test_a_yes_says_who_what_remains_and_by_which_plan(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant("starter")

    answer = await quota.check(key, limit="events_s", cost=10)

    assert answer.status_code == 200
    assert answer.json() == {
        "allowed": True,
        "tenant": tenant_id,
        "limit": "events_s",
        "remaining": 990,
        "reset_s": 1,
        "plan": {"id": "starter", "version": 1},
    }
    assert answer.headers["ratelimit-policy"] == '"events_s";q=1000;w=1'
    assert answer.headers["ratelimit"] == '"events_s";r=990;t=1'


async def test_a_no_is_the_429_of_the_brief_inside_a_problem_document(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant("starter")
    await spend_all(quota, key, "qps", 50)

    answer = await quota.check(key, cost=50)
    document = answer.json()

    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["ratelimit-policy"] == '"qps";q=50;w=1'
    assert answer.headers["ratelimit"].startswith('"qps";r=')
    assert document["error"] == "quota_exceeded"
    assert document["retryAfter"] == 1
    assert 0 < document["retry_after_us"] <= 1_000_000
    assert document["violated-policies"] == ["qps"]
    assert document["tenant"] == tenant_id
    assert document["plan"] == {"id": "starter", "version": 1}
    assert document["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"


async def test_the_tenant_is_served_again_after_the_wait(quota: Quota) -> None:
    _, key = await quota.new_tenant()
    await spend_all(quota, key, "qps", 50)
    refused = (await quota.check(key, cost=50)).json()

    await asyncio.sleep(refused["retryAfter"])

    assert (await quota.check(key, cost=50)).status_code == 200


async def test_a_cost_above_the_burst_is_refused_for_good(quota: Quota) -> None:
    _, key = await quota.new_tenant()

    answer = await quota.check(key, cost=51)

    assert answer.status_code == 422
    assert answer.json()["error"] == "cost_exceeds_burst"
    assert "retry-after" not in answer.headers


async def test_eight_callers_at_once_get_no_more_than_the_burst_and_the_rate(quota: Quota) -> None:
    _, key = await quota.new_tenant()
    loop = asyncio.get_running_loop()

    async def caller() -> list[int]:
        return [(await quota.check(key)).status_code for _ in range(40)]

    begun_s = loop.time()
    answers = Counter(status for one in await asyncio.gather(*(caller() for _ in range(CLIENTS))) for status in one)
    elapsed_s = loop.time() - begun_s

    assert set(answers) <= {200, 429}
    assert 50 <= answers[200] <= 50 + 50 * elapsed_s


async def test_an_operator_sees_and_changes_a_plan_and_checks_for_nobody(quota: Quota) -> None:
    tenant_id, _ = await quota.new_tenant("starter")

    checked = await quota.check(quota.operator, tenant=tenant_id)
    changed = await quota.put_plan(tenant_id, "pro")
    shown = await quota.call("GET", f"/v1/tenants/{tenant_id}/plan", quota.operator)

    assert (checked.status_code, checked.json()["error"]) == (403, "forbidden")
    assert (changed.status_code, shown.status_code) == (200, 200)


async def test_a_change_of_plan_is_live_within_a_second(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant("starter")

    changed = await quota.put_plan(tenant_id, "enterprise")

    async def is_live() -> bool:
        return bool((await quota.check(key)).json()["plan"]["id"] == "enterprise")

    took_s = await eventually(is_live, "the limiter follows")
    assert changed.status_code == 200
    assert took_s < 1.0
    assert (await quota.check(key)).headers["ratelimit-policy"] == '"qps";q=200;w=1'


async def test_putting_the_same_plan_again_makes_no_new_assignment(quota: Quota) -> None:
    tenant_id, _ = await quota.new_tenant("starter")
    first = await quota.put_plan(tenant_id, "pro")

    again = await quota.put_plan(tenant_id, "pro")

    assert again.json() == first.json()
    assert await assignment_count(quota, tenant_id) == 2


async def test_a_planned_change_is_shown_and_takes_effect_by_itself(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant("starter")
    begins_at = datetime.now(UTC) + timedelta(seconds=1.5)

    planned = (await quota.put_plan(tenant_id, "enterprise", effective_at=begins_at.isoformat())).json()
    before = (await quota.check(key)).json()["plan"]["id"]

    async def has_begun() -> bool:
        return bool((await quota.check(key)).json()["plan"]["id"] == "enterprise")

    async def is_settled() -> bool:
        return bool(await plan_in_table(quota, tenant_id) == "enterprise")

    assert planned["plan"]["id"] == before == "starter"
    assert planned["planned"][0]["plan"] == {"id": "enterprise", "version": 1}
    await eventually(has_begun, "the limiter follows")
    assert datetime.now(UTC) >= begins_at
    await eventually(is_settled, "tenant_plan says what is in force")


async def test_a_plan_never_changes_in_the_past(quota: Quota) -> None:
    tenant_id, _ = await quota.new_tenant("starter")

    answer = await quota.put_plan(tenant_id, "pro", effective_at="2026-01-01T00:00:00Z")

    assert answer.status_code == 409
    assert answer.json()["error"] == "plan_change_too_early"


async def test_an_unknown_plan_is_named_as_such(quota: Quota) -> None:
    tenant_id, _ = await quota.new_tenant()

    answer = await quota.put_plan(tenant_id, "platinum")

    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_plan")


async def test_a_tenant_reads_its_own_plan_and_anothers_is_not_found(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant("pro")
    other_id, _ = await quota.new_tenant("starter")

    own = await quota.call("GET", f"/v1/tenants/{tenant_id}/plan", key)
    other = await quota.call("GET", f"/v1/tenants/{other_id}/plan", key)
    nobody = await quota.call("GET", f"/v1/tenants/{fresh_tenant_id()}/plan", key)

    assert own.json()["plan"]["id"] == "pro"
    assert own.json()["plan"]["price_map"] == {"gql_per_million": "2", "ingest_per_k": "0.1"}
    assert (other.status_code, nobody.status_code) == (404, 404)
    assert other.json()["detail"] == nobody.json()["detail"]


async def test_a_tenant_cannot_change_plans(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant("starter")

    answer = await quota.call("PUT", f"/v1/tenants/{tenant_id}/plan", key, {"plan_id": "enterprise"})

    assert answer.status_code == 403


async def test_the_catalogue_pages_by_cursor(quota: Quota) -> None:
    first = (await quota.call("GET", "/v1/plans?limit=2", quota.operator)).json()
    rest = (await quota.call("GET", f"/v1/plans?limit=2&cursor={first['next_cursor']}", quota.operator)).json()

    assert [plan["id"] for plan in first["items"]] == ["enterprise", "pro"]
    assert [plan["id"] for plan in rest["items"]] == ["starter"]
    assert rest["next_cursor"] is None
    assert rest["items"][0]["limits"] == {"qps": 50, "events_s": 1000, "storage_gb": 200}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/plans"), ("POST", "/v1/check"), ("GET", f"/v1/tenants/tnt_{'a' * 20}/plan")]
)
async def test_nobody_is_answered_without_a_key(quota: Quota, method: str, path: str) -> None:
    answer = await quota.client.request(method, path, json={"limit": "qps"} if method == "POST" else None)

    assert answer.status_code == 401
    assert answer.json()["error"] == "unauthenticated"


async def test_an_edge_asks_for_the_holder_of_the_key_it_was_called_with(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(tenant_id,))

    by_token = await quota.check(edge, token=key)
    by_name = await quota.check(edge, tenant=tenant_id)

    assert by_token.json()["tenant"] == by_name.json()["tenant"] == tenant_id


async def test_an_edge_asks_for_no_tenant_outside_its_list(quota: Quota) -> None:
    tenant_id, _ = await quota.new_tenant()
    other_id, other_key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(tenant_id,))

    by_token = await quota.check(edge, token=other_key)
    by_name = await quota.check(edge, tenant=other_id)
    nobody = await quota.check(edge)

    assert (by_token.status_code, by_token.json()["error"]) == (403, "wrong_tenant")
    assert (by_name.status_code, by_name.json()["error"]) == (403, "wrong_tenant")
    assert nobody.json()["error"] == "tenant_required"


async def test_a_callers_bad_key_is_told_apart_from_the_edges_own(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(tenant_id,))

    of_the_caller = await quota.check(edge, token=key[:-1])
    of_the_edge = await quota.check(edge[:-1], token=key)
    no_tenants = await quota.check(edge, token=edge)

    assert (of_the_caller.status_code, of_the_caller.json()["error"]) == (401, "caller_unauthenticated")
    assert (of_the_edge.status_code, of_the_edge.json()["error"]) == (401, "unauthenticated")
    assert (no_tenants.status_code, no_tenants.json()["error"]) == (401, "caller_unauthenticated")


async def test_a_question_that_names_two_is_malformed(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()

    answer = await quota.check(key, tenant=tenant_id, token=key)

    assert (answer.status_code, answer.json()["error"]) == (400, "malformed")


async def test_storage_is_compared_with_the_last_gauge(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()
    empty = await quota.check(key, limit="storage_gb")
    await quota.hear_of_storage(tenant_id, 200 * GB)

    async def is_full() -> bool:
        return (await quota.check(key, limit="storage_gb")).status_code == 429

    await eventually(is_full, "the gauge is known")
    full = await quota.check(key, limit="storage_gb")

    assert empty.json()["remaining"] == 200
    assert empty.json()["reset_s"] is None
    assert full.json()["violated-policies"] == ["storage_gb"]
    assert full.headers["ratelimit"] == '"storage_gb";r=0'


async def plan_in_table(quota: Quota, tenant_id: str) -> str:
    plan_id = await quota.app.state.pools.worker.fetchval(
        "SELECT plan_id FROM tenant_plan WHERE tenant_id = $1", tenant_id
    )
    return str(plan_id)


async def assignment_count(quota: Quota, tenant_id: str) -> int:
    count = await quota.app.state.pools.worker.fetchval(
        "SELECT count(*) FROM tenant_plan_history WHERE tenant_id = $1", tenant_id
    )
    return int(count)


async def test_an_edge_that_passes_on_many_wrong_keys_is_told_to_wait_but_for_keys_that_were_good(quota: Quota) -> None:
    """The last of this file: the address of the tests is over its limit then."""
    tenant_id, key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(tenant_id,))
    assert (await quota.check(edge, token=key)).status_code == 200

    wrong = f"{key[:-3]}{'b' if key[-3] == 'a' else 'a'}"  # whatever follows, it is not the key
    tried = [await quota.check(edge, token=f"{wrong}{number:02d}") for number in range(90)]
    repeated = await quota.check(edge, token=f"{wrong}00")
    good = await quota.check(edge, token=key)
    named = await quota.check(edge, tenant=tenant_id)

    limited = [one for one in tried if one.status_code == 429]
    assert {one.status_code for one in tried[:60]} == {401}
    assert {one.json()["error"] for one in limited} == {"caller_too_many_attempts"}
    assert int(limited[0].headers["retry-after"]) >= 1
    assert (repeated.status_code, good.status_code, named.status_code) == (401, 200, 200)
