"""The OpenAPI document of a route says exactly what the route can answer."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header, Path, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from libs.runtime.errors import Conflict, Forbidden, NotFound, Rejected, Unauthenticated, Unavailable
from libs.runtime.openapi import completed, raw_body, refusals, with_refusals


class Taken(Conflict):
    """An error of a service."""

    code = "taken"


class Odd(Rejected):
    """An error with FastAPI's own status."""

    code = "odd"
    status = 422


class Body(BaseModel):
    """A body."""

    name: str


BEARER = HTTPBearer(scheme_name="Key", auto_error=False)
BEARER.model = BEARER.model.model_copy(update=with_refusals(Unauthenticated, Unavailable))
Keyed = Annotated[object, Security(BEARER)]


def document(app: FastAPI) -> dict[str, Any]:
    return completed(app.openapi())


def route(app: FastAPI, method: str = "get", path: str = "/things") -> dict[str, Any]:
    found: dict[str, Any] = document(app)["paths"][path][method]
    return found


def codes(operation: dict[str, Any], status: int) -> list[str]:
    schema = operation["responses"][str(status)]["content"]["application/problem+json"]["schema"]
    found: list[str] = schema["allOf"][1]["properties"]["error"]["enum"]
    return found


@pytest.fixture
def app() -> FastAPI:
    return FastAPI()


def test_an_open_route_without_a_shape_refuses_nothing(app: FastAPI) -> None:
    @app.get("/things")
    async def things() -> None: ...

    assert list(route(app)["responses"]) == ["200"]


def test_named_errors_become_one_problem_a_status_with_their_codes(app: FastAPI) -> None:
    @app.get("/things", responses=refusals(NotFound, Taken, Conflict))
    async def things() -> None: ...

    found = route(app)
    assert list(found["responses"]) == ["200", "404", "409"]
    assert codes(found, 409) == ["conflict", "taken"]
    assert found["responses"]["404"]["description"] == "Not Found: `not_found`"


def test_a_body_can_be_malformed_and_is_never_a_422(app: FastAPI) -> None:
    @app.post("/things")
    async def things(body: Body) -> None: ...

    found = route(app, "post")
    assert list(found["responses"]) == ["200", "400"]
    assert codes(found, 400) == ["malformed"]
    assert set(document(app)["components"]["schemas"]) == {"Body", "Problem"}


def test_a_422_of_our_own_stays(app: FastAPI) -> None:
    @app.post("/things", responses=refusals(Odd))
    async def things(body: Body) -> None: ...

    assert codes(route(app, "post"), 422) == ["odd"]


def test_a_parameter_that_takes_any_text_cannot_be_malformed(app: FastAPI) -> None:
    @app.get("/things/{name}")
    async def things(name: str, note: Annotated[str | None, Header()] = None) -> None: ...

    assert list(route(app, path="/things/{name}")["responses"]) == ["200"]


def test_a_parameter_with_a_bound_can_be_malformed(app: FastAPI) -> None:
    @app.get("/things/{name}")
    async def things(name: Annotated[str, Path(max_length=3)]) -> None: ...

    assert list(route(app, path="/things/{name}")["responses"]) == ["200", "400"]


def test_what_the_scheme_refuses_every_route_behind_it_refuses(app: FastAPI) -> None:
    @app.get("/things", responses=refusals(Forbidden))
    async def things(_: Keyed) -> None: ...

    found = route(app)
    assert list(found["responses"]) == ["200", "401", "403", "500", "503"]
    assert "Retry-After" in found["responses"]["503"]["headers"]
    assert "WWW-Authenticate" in found["responses"]["401"]["headers"]


def test_a_routes_codes_and_its_schemes_stand_together(app: FastAPI) -> None:
    class Late(Unavailable):
        """Another 503."""

        code = "late"

    @app.get("/things", responses=refusals(Late))
    async def things(_: Keyed) -> None: ...

    assert codes(route(app), 503) == ["late", "unavailable"]


def test_a_raw_body_is_described_and_not_checked(app: FastAPI) -> None:
    @app.post("/things", openapi_extra=raw_body({"text/csv": {"schema": {"type": "string"}}}, "rows"))
    async def things() -> None: ...

    found = route(app, "post")
    assert list(found["responses"]) == ["200"]
    assert found["requestBody"] == {
        "required": True,
        "description": "rows",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }


def test_no_marker_of_ours_is_left_in_the_document(app: FastAPI) -> None:
    @app.post("/things", responses=refusals(Odd), openapi_extra=raw_body({"text/csv": {}}, "rows"))
    async def things(_: Keyed) -> None: ...

    assert '"x-' not in repr(document(app)).replace("'", '"')


def test_every_answer_carries_the_request_id(app: FastAPI) -> None:
    @app.get("/things", responses=refusals(NotFound))
    async def things() -> None: ...

    found = route(app)["responses"]
    assert [answer["headers"]["X-Request-Id"] for answer in found.values()] == [
        {"$ref": "#/components/headers/RequestId"}
    ] * 2
