"""What holds answers to their documents, and routes to their tests, notices what it is there for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from libs.access.request import Caller
from libs.runtime.errors import Conflict, NotFound
from libs.runtime.openapi import refusals
from libs.runtime.web import create_app
from tests.support.access import api_key, door_of, key_changed, tenant_changed, tenant_id
from tests.support.across_tenants import Trial, try_across
from tests.support.answers import Ask, Stage, documented, drive
from tests.support.watched import FAULTS, watched

MINE, EDGE = api_key(1), api_key(2)


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


@pytest.fixture
def app() -> FastAPI:
    async def ready() -> None:
        made.state.door._directory.require_ready()

    made = create_app("test", nothing, ready=ready)
    made.state.door = door_of(
        tenant_changed(tenant_id(1)),
        key_changed(MINE, "tenant", tenant_id=tenant_id(1)),
        key_changed(EDGE, "edge", act_for=(tenant_id(1),)),
    )
    return made


async def faults(app: FastAPI, path: str) -> list[str]:
    """Return what is found wrong with the answer at `path`."""
    transport = httpx.ASGITransport(watched(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get(path)
    found = list(FAULTS)
    FAULTS.clear()
    return found


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/nowhere"])
async def test_what_every_service_answers_is_documented(app: FastAPI, path: str) -> None:
    assert await faults(app, path) == []


async def test_a_status_that_is_not_documented_is_noticed(app: FastAPI) -> None:
    @app.get("/thing", responses=refusals(NotFound))
    async def thing() -> None:
        raise Conflict("not now")

    assert "a status that is not documented" in (await faults(app, "/thing"))[0]


async def test_a_code_that_is_not_documented_is_noticed(app: FastAPI) -> None:
    class Taken(Conflict):
        code = "taken"

    @app.get("/thing", responses=refusals(Taken))
    async def thing() -> None:
        raise Conflict("not now")

    assert "'conflict' is not one of ['taken']" in (await faults(app, "/thing"))[0]


async def test_a_body_that_does_not_fit_is_noticed(app: FastAPI) -> None:
    @app.get("/thing", response_model=int)
    async def thing() -> Response:
        return JSONResponse("seven")

    assert "'seven' is not of type 'integer'" in (await faults(app, "/thing"))[0]


async def test_another_media_type_is_noticed(app: FastAPI) -> None:
    @app.get("/thing", response_model=int)
    async def thing() -> Response:
        return Response("7", media_type="text/plain")

    assert "the body comes as 'text/plain'" in (await faults(app, "/thing"))[0]


async def test_a_documented_status_that_no_request_leads_to_is_noticed(app: FastAPI) -> None:
    @app.get("/thing", responses=refusals(NotFound))
    async def thing() -> int:
        return 7

    with pytest.raises(AssertionError, match=r"never seen: .*'/thing', 404"):
        await drive(Stage(app, {}, {}), [(200, Ask("GET", "/thing"))], [], seen=[(503, Ask("GET", "/readyz"))])


async def test_a_route_that_was_not_tried_across_tenants_is_noticed(app: FastAPI) -> None:
    @app.get("/thing")
    async def thing(_: Caller) -> int:
        return 7

    @app.get("/forgotten")
    async def forgotten(_: Caller) -> int:
        return 7

    stage = Stage(app, {"mine": MINE.text, "edge": EDGE.text}, {})
    with pytest.raises(AssertionError, match=r"not tried across tenants: .*forgotten"):
        await try_across(stage, [Trial(Ask("GET", "/thing"), 200, 200)], theirs=["secret"])


async def test_anothers_text_in_an_answer_is_noticed(app: FastAPI) -> None:
    @app.get("/thing")
    async def thing(_: Caller) -> str:
        return "their secret"

    stage = Stage(app, {"mine": MINE.text, "edge": EDGE.text}, {})
    with pytest.raises(AssertionError, match="shows \\['secret'\\]"):
        await try_across(stage, [Trial(Ask("GET", "/thing"), 200, 200)], theirs=["secret"])


async def test_an_absent_thing_that_is_told_apart_is_noticed(app: FastAPI) -> None:
    @app.get("/thing/{name}", responses=refusals(NotFound))
    async def thing(name: str, _: Caller) -> int:
        raise NotFound("not yours" if name == "theirs" else "not there")

    stage = Stage(app, {"mine": MINE.text, "edge": EDGE.text}, {"name": "theirs"})
    ask = Ask("GET", "/thing/{name}")
    with pytest.raises(AssertionError, match="told apart"):
        await try_across(stage, [Trial(ask, 404, 404, ask.but(names={"name": "nobodys"}))], theirs=["secret"])


def test_what_is_documented_is_listed_by_route_and_status(app: FastAPI) -> None:
    assert documented(app) == {("GET", "/readyz", 503)}
