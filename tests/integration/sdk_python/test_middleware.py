"""A FastAPI application, served over HTTP and protected by the middleware, with the real quota service behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from maestro_sdk import QuotaClient, QuotaMiddleware
from tests.support.quota_service import Quota, listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_S = 2.0  # patient: the machine that runs the tests is shared


async def numbers() -> AsyncIterator[bytes]:
    for number in range(3):
        yield f"{number} ".encode()


def shop() -> FastAPI:
    """An application that knows nothing of quotas."""
    app = FastAPI()

    @app.get("/whoami")
    async def whoami(request: Request) -> dict[str, str | None]:
        return {"tenant": request.state.maestro_tenant}

    @app.get("/numbers", response_class=PlainTextResponse)
    async def stream() -> StreamingResponse:
        return StreamingResponse(numbers(), media_type="text/plain")

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    return app


@asynccontextmanager
async def protected_shop(quota_url: str, edge_key: str, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The shop behind the middleware, over a real socket."""
    app = shop()
    async with QuotaClient(quota_url, edge_key, timeout_s=TIMEOUT_S) as client:
        app.add_middleware(QuotaMiddleware, client=client, exempt=["/healthz"], **options)
        async with listening(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as caller:
            yield caller


async def get(caller: httpx.AsyncClient, path: str, key: str | None = None) -> httpx.Response:
    return await caller.get(path, headers={} if key is None else {"authorization": f"Bearer {key}"})


async def test_a_tenant_is_served_under_its_own_name_with_the_fields_of_its_quota(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(tenant_id,))

    async with protected_shop(quota.url, edge) as caller:
        answer = await get(caller, "/whoami", key)

    assert answer.json() == {"tenant": tenant_id}
    assert answer.headers["ratelimit-policy"] == '"qps";q=50;w=1'
    assert answer.headers["ratelimit"] == '"qps";r=49;t=1'


async def test_a_stream_passes_untouched(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(tenant_id,))

    async with protected_shop(quota.url, edge) as caller:
        answer = await get(caller, "/numbers", key)

    assert answer.text == "0 1 2 "
    assert answer.headers["transfer-encoding"] == "chunked"


async def test_a_tenant_over_its_quota_sees_the_429_and_is_served_again_after_the_wait(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(tenant_id,))

    async with protected_shop(quota.url, edge, cost=50) as caller:
        served = await get(caller, "/whoami", key)
        refused = await get(caller, "/whoami", key)
        await asyncio.sleep(refused.json()["retryAfter"])
        again = await get(caller, "/whoami", key)

    assert (served.status_code, refused.status_code, again.status_code) == (200, 429, 200)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-policy"] == '"qps";q=50;w=1'
    assert refused.json()["error"] == "quota_exceeded"
    assert refused.json()["retryAfter"] == 1


async def test_one_tenants_flood_costs_its_neighbour_nothing(quota: Quota) -> None:
    flooding_id, flooding_key = await quota.new_tenant()
    quiet_id, quiet_key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(flooding_id, quiet_id))

    async with protected_shop(quota.url, edge) as caller:
        flood = await asyncio.gather(*(get(caller, "/whoami", flooding_key) for _ in range(150)))
        quiet = await asyncio.gather(*(get(caller, "/whoami", quiet_key) for _ in range(20)))

    assert Counter(answer.status_code for answer in flood)[200] >= 50
    assert {answer.status_code for answer in flood} <= {200, 429}
    assert {answer.status_code for answer in quiet} == {200}


async def test_an_unknown_key_and_a_stranger_to_the_edge_are_told_apart(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant()
    _, strangers_key = await quota.new_tenant()
    edge = await quota.new_key("edge", act_for=(tenant_id,))

    async with protected_shop(quota.url, edge) as caller:
        nobody = await get(caller, "/whoami")
        unknown = await get(caller, "/whoami", key[:-1])
        stranger = await get(caller, "/whoami", strangers_key)
        health = await get(caller, "/healthz")

    assert (nobody.status_code, unknown.status_code, stranger.status_code) == (401, 401, 403)
    assert unknown.json()["error"] == "caller_unauthenticated"
    assert unknown.headers["www-authenticate"] == 'Bearer realm="maestro"'
    assert stranger.json()["error"] == "wrong_tenant"
    assert health.status_code == 200


async def test_callers_that_hang_up_leave_the_client_as_it_was(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant("enterprise")
    edge = await quota.new_key("edge", act_for=(tenant_id,))

    async with QuotaClient(quota.url, edge, timeout_s=TIMEOUT_S) as client:
        hasty = [asyncio.create_task(client.check("qps", token=key)) for _ in range(40)]
        await asyncio.sleep(0)
        for task in hasty:
            task.cancel()
        await asyncio.gather(*hasty, return_exceptions=True)
        answers = await asyncio.gather(*(client.check("events_s", token=key) for _ in range(40)))

    assert {(answer.tenant, answer.limit) for answer in answers} == {(tenant_id, "events_s")}
