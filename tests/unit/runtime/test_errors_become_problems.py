from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.runtime import errors, web


class Count(BaseModel):
    """A body."""

    n: int


async def nothing_to_wait_for() -> None:
    return None


async def not_yet() -> None:
    raise errors.Unavailable("the key directory is still loading", retry_after_s=2)


def client_of(app: FastAPI) -> AsyncClient:
    return AsyncClient(transport=ASGITransport(app, raise_app_exceptions=False), base_url="http://edge")


def app_that_raises(error: Exception) -> FastAPI:
    app = web.create_app("identity", lambda _: errors_free_lifespan(), ready=nothing_to_wait_for)

    @app.get("/thing")
    async def thing() -> None:
        raise error

    @app.get("/number/{n}")
    async def number(n: int) -> int:
        return n

    return app


class errors_free_lifespan:  # noqa: N801 - used as the context manager that an application without parts needs
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.Unauthenticated("no key"), 401, "unauthenticated"),
        (errors.Forbidden("no scope"), 403, "forbidden"),
        (errors.NotFound("not here"), 404, "not_found"),
        (errors.Conflict("closed"), 409, "conflict"),
        (errors.TooLarge("over 4 MiB"), 413, "too_large"),
        (errors.QuotaExceeded("over"), 429, "quota_exceeded"),
        (errors.Unavailable("broker away"), 503, "unavailable"),
        (errors.Broken("two owners"), 500, "broken"),
        (OSError("socket"), 503, "unavailable"),
        (ValueError("a secret in a message"), 500, "broken"),
    ],
)
async def test_every_error_is_a_problem_document_with_its_stable_code(error: Exception, status: int, code: str) -> None:
    async with client_of(app_that_raises(error)) as client:
        response = await client.get("/thing")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["error"] == code
    assert response.json()["status"] == status
    assert response.json()["type"].startswith("https://maestro.example/problems/")


async def test_an_unexpected_error_does_not_tell_its_text_to_the_caller() -> None:
    async with client_of(app_that_raises(ValueError("a secret in a message"))) as client:
        response = await client.get("/thing")
    assert "secret" not in response.text
    assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_a_malformed_request_says_where_it_is_wrong() -> None:
    async with client_of(app_that_raises(OSError())) as client:
        response = await client.get("/number/seven")
    assert response.status_code == 400
    assert response.json()["errors"][0]["at"] == "path/n"


async def test_an_unknown_path_is_a_problem_document() -> None:
    async with client_of(app_that_raises(OSError())) as client:
        response = await client.get("/nowhere")
    assert response.status_code == 404
    assert response.json()["status"] == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_wrong_method_is_a_problem_document_that_names_the_right_ones() -> None:
    async with client_of(app_that_raises(OSError())) as client:
        response = await client.put("/thing")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/thing/", "/docs", "/redoc"])
async def test_there_are_no_redirects_and_no_pages_that_load_scripts_from_elsewhere(path: str) -> None:
    async with client_of(app_that_raises(OSError())) as client:
        response = await client.get(path)
    assert (response.status_code, response.json()["error"]) == (404, "http_error")


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"n": "seven"}', b"[]", b""])
async def test_a_body_that_cannot_be_read_is_malformed_whatever_is_wrong_with_it(body: bytes) -> None:
    app = app_that_raises(OSError())

    @app.post("/count")
    async def count(counted: Count) -> int:
        return counted.n

    async with client_of(app) as client:
        response = await client.post("/count", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]) == (400, "malformed")
    assert response.headers["content-type"] == "application/problem+json"


async def test_unavailable_says_when_to_come_back() -> None:
    app = web.create_app("quota", lambda _: errors_free_lifespan(), ready=not_yet)
    async with client_of(app) as client:
        alive, ready = await client.get("/healthz"), await client.get("/readyz")
    assert alive.status_code == 200
    assert ready.status_code == 503
    assert ready.headers["retry-after"] == "2"


async def test_the_callers_request_id_comes_back_and_a_hostile_one_does_not() -> None:
    async with client_of(app_that_raises(OSError())) as client:
        kept = await client.get("/healthz", headers={"x-request-id": "run-7"})
        replaced = await client.get("/healthz", headers={"x-request-id": "a\x1b[31mb"})
    assert kept.headers["x-request-id"] == "run-7"
    assert replaced.headers["x-request-id"].isalnum()


async def cancelled_before_it_answers(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise asyncio.CancelledError


async def cancelled_as_it_answers(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise asyncio.CancelledError


async def nothing_comes() -> Message:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("app", "statuses"), [(cancelled_before_it_answers, [503, None]), (cancelled_as_it_answers, [200])]
)
async def test_a_cancelled_request_is_told_to_come_again_unless_its_answer_has_begun(
    app: ASGIApp, statuses: list[int | None]
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "path": "/thing", "query_string": b"", "headers": []}
    with pytest.raises(asyncio.CancelledError):
        await web.Edge(app)(scope, nothing_comes, send)

    assert [message.get("status") for message in sent] == statuses
