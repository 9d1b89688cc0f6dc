"""Every JSON body of every service is read so that no proxy, client or decoder can have read it otherwise."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from deploy.contracts.http_apis import application, http_apis
from libs.runtime.json_bodies import StrictRouter, require_strict_routes
from libs.runtime.web import ServiceApp
from tests.support.watched import kept_contracts, watched

__all__ = ["kept_contracts"]

RAW = {("metering", "/v1/traces"), ("metering", "/api/v1/events")}
"""Read by the route itself, in pieces and with bounds of its own: tests/unit/metering/test_bodies.py."""

ROUTES = [
    (service, method.upper(), path)
    for service, document in http_apis().items()
    for path, operations in document["paths"].items()
    for method, operation in operations.items()
    if "application/json" in operation.get("requestBody", {}).get("content", {}) and (service, path) not in RAW
]
EVERY_ROUTE = pytest.mark.parametrize(("service", "method", "path"), ROUTES, ids=lambda part: part)
NAMES = {
    "{tenant_id}": "tnt_aaaaaaaaaaaaaaaaaaaa",
    "{period}": "2026-01",
    "{name}": "exports",
}
HEADERS = {"content-type": "application/json", "idempotency-key": "once"}


async def sent(app: FastAPI, method: str, path: str, body: bytes, **headers: str) -> httpx.Response:
    """Send a body to a route; nothing was wired, so that what passes the reading is answered 500."""
    for name, value in NAMES.items():
        path = path.replace(name, value)
    transport = httpx.ASGITransport(watched(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.request(method, path, content=body, headers=HEADERS | headers)


def test_each_service_with_json_bodies_is_asked() -> None:
    assert {service for service, _, _ in ROUTES} == {"identity", "metering", "quota", "invoicing", "evidence"}


@EVERY_ROUTE
@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b'{"cost":1,"cost":7}', 'duplicate key "cost"', id="a name twice"),
        pytest.param(b'{"cost":1,"\\u0063ost":7}', 'duplicate key "cost"', id="a name twice, once escaped"),
        pytest.param(b'{"a":[{"b":1,"b":1}]}', 'duplicate key "b"', id="a name twice, deep inside"),
        pytest.param(b'{"cost":NaN}', "expected value", id="NaN"),
        pytest.param(b'{"cost":-Infinity}', "invalid number", id="minus infinity"),
        pytest.param(b'{"cost":Infinity}', "expected value", id="infinity"),
        pytest.param(b'{"a":' * 300 + b"1" + b"}" * 300, "recursion limit", id="nested too deep"),
        pytest.param(b'{"a":"\\ud800"}', "hex escape", id="half a surrogate pair"),
        pytest.param('{"a":1}'.encode("utf-16"), "expected value", id="not UTF-8"),
        pytest.param(b"{", "EOF", id="cut short"),
    ],
)
async def test_what_decoders_read_otherwise_is_refused(
    service: str, method: str, path: str, body: bytes, why: str
) -> None:
    answer = await sent(application(service), method, path, body)
    problem = answer.json()
    assert (answer.status_code, problem["error"]) == (400, "malformed")
    assert answer.headers["content-type"] == "application/problem+json"
    assert why in problem["detail"]
    assert problem["errors"][0]["at"] == "body"


@EVERY_ROUTE
async def test_a_media_type_of_json_is_read_as_strictly(service: str, method: str, path: str) -> None:
    kind = {"content-type": "application/vnd.example+json; charset=utf-8"}
    answer = await sent(application(service), method, path, b'{"a":1,"a":1}', **kind)
    assert 'duplicate key "a"' in answer.json()["detail"]


@EVERY_ROUTE
async def test_a_body_past_the_bound_is_refused_unread(service: str, method: str, path: str) -> None:
    answer = await sent(application(service), method, path, b"{}", **{"content-length": str(10**9)})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


async def test_a_name_that_is_said_twice_is_shown_short_and_printable() -> None:
    name = b'"\\u001b[31m' + b"k" * 5000 + b'"'
    answer = await sent(application("quota"), "POST", "/v1/check", b"{" + name + b":1," + name + b":2}")
    detail = answer.json()["detail"]
    assert "duplicate key" in detail
    assert detail.isprintable()
    assert len(detail) < 500


class Some(BaseModel):
    """A body."""

    n: int


async def take(body: Some) -> int:
    return body.n


def test_a_router_that_reads_as_fastapi_does_is_not_included() -> None:
    router = APIRouter(max_body_size=10)
    router.post("/some")(take)
    with pytest.raises(TypeError, match="StrictRouter"):
        ServiceApp().include_router(router)


def test_a_body_without_a_bound_is_not_included() -> None:
    router = StrictRouter()
    router.post("/some")(take)
    with pytest.raises(ValueError, match="max_body_size"):
        ServiceApp().include_router(router)


def test_a_body_with_the_bound_of_its_route_is_included() -> None:
    router = StrictRouter()
    router.post("/some", max_body_size=10)(take)
    require_strict_routes(router)
