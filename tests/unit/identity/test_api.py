"""Who gets past the door of identity's HTTP API. What lies behind it is tested on real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.identity.app import create
from services.identity.settings import IdentitySettings
from tests.support.access import ENV, WHY, api_key, bearer, door_of, key_changed, tenant_changed, tenant_id

A = tenant_id(1)
POWERLESS, EDGE, OPERATOR = api_key(1), api_key(2), api_key(3)
PATHS = create(IdentitySettings(env=ENV)).openapi()["paths"]
OPERATIONS = sorted(
    (method.upper(), path)
    for path, operations in PATHS.items()
    for method, operation in operations.items()
    if "security" in operation
)
EVERY_OPERATION = pytest.mark.parametrize(("method", "path"), OPERATIONS)
BODIES = {
    ("POST", "/v1/tenants"): {"name": "Acme"},
    ("POST", "/v1/tenants/{tenant_id}/keys"): {"name": "ci"},
    ("POST", "/v1/keys"): {"kind": "edge", "name": "gateway", "act_for": [A]},
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create(IdentitySettings(env=ENV))
    app.state.door = door_of(
        tenant_changed(A),
        key_changed(POWERLESS, "tenant", tenant_id=A, scopes=()),
        key_changed(EDGE, "edge", act_for=(A,), scopes=("usage:write", "quota:check")),
        key_changed(OPERATOR, "operator", scopes=("keys:write", "tenants:write")),
    )
    app.state.registrar = app.state.pools = None  # what is refused at the door needs neither
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://identity") as client:
        yield client


async def call(client: httpx.AsyncClient, method: str, path: str, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"authorization": authorization}
    url = path.format(tenant_id=A, key_id=POWERLESS.key_id)
    return await client.request(method, url, json=BODIES.get((method, path)), headers=headers)


def test_the_api_is_what_the_readme_says() -> None:
    assert OPERATIONS == [
        ("DELETE", "/v1/keys/{key_id}"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/me"),
        ("GET", "/v1/tenants"),
        ("GET", "/v1/tenants/{tenant_id}"),
        ("POST", "/v1/keys"),
        ("POST", "/v1/tenants"),
        ("POST", "/v1/tenants/{tenant_id}/keys"),
    ]


@EVERY_OPERATION
@pytest.mark.parametrize("authorization", [None, "Bearer junk", bearer(api_key(99)), f"Basic {OPERATOR.text}"])
async def test_nobody_passes_without_a_key_of_ours(
    client: httpx.AsyncClient, method: str, path: str, authorization: str | None
) -> None:
    answer = await call(client, method, path, authorization)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == 'Bearer realm="maestro"'
    assert answer.json()["error"] == "unauthenticated"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        one
        for one in OPERATIONS
        if one not in {("GET", "/v1/me"), ("GET", "/v1/tenants"), ("GET", "/v1/tenants/{tenant_id}")}
    ],
)
@pytest.mark.parametrize("key", [POWERLESS, EDGE], ids=["tenant", "edge"])
async def test_a_key_without_the_scope_is_forbidden(
    client: httpx.AsyncClient, method: str, path: str, key: Any
) -> None:
    answer = await call(client, method, path, bearer(key))

    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


@pytest.mark.parametrize("path", ["/v1/tenants", "/v1/tenants/{tenant_id}"])
async def test_an_operator_without_the_scope_does_not_read_tenants(client: httpx.AsyncClient, path: str) -> None:
    answer = await call(client, "GET", path, bearer(OPERATOR))

    assert (answer.status_code, answer.json()["scope"]) == (403, "tenants:read")


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        pytest.param("/v1/tenants", {}, "body/name", id="no name"),
        pytest.param("/v1/tenants", {"name": ""}, "body/name", id="empty name"),
        pytest.param("/v1/tenants", {"name": "a\u0000b"}, "body/name", id="NUL in the name"),
        pytest.param("/v1/tenants", {"name": "x" * 201}, "body/name", id="endless name"),
        pytest.param("/v1/tenants", {"name": "Acme", "plan": "pro"}, "body/plan", id="misspelt field"),
        pytest.param("/v1/tenants", {"name": "Acme", "plan_id": "Pro!"}, "body/plan_id", id="no plan id"),
        pytest.param("/v1/tenants", {"name": "Acme", "billing_zone": "Mars/X"}, "body/billing_zone", id="no zone"),
        pytest.param("/v1/keys", {"kind": "edge", "name": "g", "act_for": []}, "body/act_for", id="for nobody"),
        pytest.param("/v1/keys", {"kind": "edge", "name": "g", "act_for": ["x"]}, "body/act_for/0", id="no tenant id"),
        pytest.param("/v1/keys", {"kind": "edge", "name": "g", "act_for": [A] * 1001}, "body/act_for", id="too many"),
        pytest.param("/v1/keys", {"kind": "operator", "name": "g", "act_for": [A]}, "body/kind", id="operator by API"),
        pytest.param(f"/v1/tenants/{A}/keys", {"name": "ci", "scopes": []}, "body/scopes", id="no scopes"),
        pytest.param(f"/v1/tenants/{A}/keys", {"name": "ci", "scopes": ["all"]}, "body/scopes/0", id="no such scope"),
        pytest.param(
            f"/v1/tenants/{A}/keys", {"name": "ci", "expires_at": "2030-01-01T00:00:00"}, "body/expires_at", id="naive"
        ),
        pytest.param("/v1/tenants/tnt_1/keys", {"name": "ci"}, "path/tenant_id", id="no tenant id in the path"),
    ],
)
async def test_a_request_that_is_not_well_formed_is_told_where(
    client: httpx.AsyncClient, path: str, body: dict[str, object], at: str
) -> None:
    answer = await client.post(path, json=body, headers=WHY | {"authorization": bearer(OPERATOR)})

    assert (answer.status_code, answer.json()["error"]) == (400, "malformed")
    assert at in [one["at"] for one in answer.json()["errors"]]


@pytest.mark.parametrize("key_id", ["no-key-id", "%00", "x" * 500, "a" * 15, "a" * 17])
async def test_what_is_no_key_id_cannot_be_revoked(client: httpx.AsyncClient, key_id: str) -> None:
    answer = await client.delete(f"/v1/keys/{key_id}", headers=WHY | {"authorization": bearer(OPERATOR)})

    assert (answer.status_code, answer.json()["error"]) == (400, "malformed")


async def test_a_body_over_the_bound_is_refused(client: httpx.AsyncClient) -> None:
    body = b'{"name": "' + b"x" * 70_000 + b'"}'

    answer = await client.post(
        "/v1/tenants", content=body, headers={"authorization": bearer(OPERATOR), "content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=junk", "cursor=WyJhIiwiYiJd"])
async def test_a_page_that_cannot_be_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/v1/tenants?{query}", headers={"authorization": bearer(POWERLESS)})

    assert answer.status_code == 400


async def test_a_key_is_told_what_it_may_do(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/me", headers={"authorization": bearer(EDGE)})

    assert answer.json() == {
        "key_id": EDGE.key_id,
        "kind": "edge",
        "tenant_id": None,
        "scopes": ["quota:check", "usage:write"],
        "act_for": [A],
    }


async def test_another_tenants_entry_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/tenants/{tenant_id(2)}", headers={"authorization": bearer(POWERLESS)})

    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
