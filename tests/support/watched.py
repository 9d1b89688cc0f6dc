"""Holds every answer that an application gives in a test to the application's own OpenAPI document.

An answer with a status that the document does not name for the route, with a body in another media type, or with a body
that does not fit its schema, is a fault; the fixture `kept_contracts` fails the test in which it was given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.runtime import problem

Json = dict[str, Any]
FAULTS: list[str] = []


@pytest.fixture(autouse=True)
def kept_contracts() -> Iterator[None]:
    """Fail where an application in this test gave an answer that its document does not know."""
    FAULTS.clear()
    yield
    assert FAULTS == [], FAULTS


def watched(app: FastAPI) -> ASGIApp:
    """Return `app` such that its answers are looked at. The document is made at the first of them."""
    contract = Contract(app)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer()

        async def send_noting(message: Message) -> None:
            answer.note(message)
            await send(message)

        await app(scope, receive, send_noting)
        if scope["type"] == "http":
            FAULTS.extend(contract.faults(scope, answer))

    return serve


class Answer:
    """What was answered."""

    def __init__(self) -> None:
        self.status = 0
        self.media = ""
        self.body = b""

    def note(self, message: Message) -> None:
        """Take one message of the server's."""
        if message["type"] == "http.response.start":
            headers = {name.lower(): value for name, value in message["headers"]}
            self.status = message["status"]
            self.media = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0]
        self.body += message.get("body", b"")


class Contract:
    """The document of one application."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._validator = cache(self._new_validator)

    def faults(self, scope: Scope, answer: Answer) -> list[str]:
        """Return what is wrong with an answer."""
        found = self._fault(scope, answer)
        return [] if found is None else [f"{scope['method']} {scope['path']} -> {answer.status}: {found}"]

    def _fault(self, scope: Scope, answer: Answer) -> str | None:
        if answer.status == 0 or scope["path"] == self._app.openapi_url:
            return None
        route = getattr(scope.get("route"), "path_format", None)
        operation = self._app.openapi()["paths"].get(route, {}).get(scope["method"].lower())
        if operation is None:  # no such path, or not this method: answered before any route
            return (
                self._misfit(answer, "#/components/schemas/Problem") if answer.media == problem.MEDIA_TYPE else "bare"
            )
        documented = operation["responses"].get(str(answer.status))
        if documented is None:
            return f"a status that is not documented; the body is {answer.body[:300]!r}"
        kinds = documented.get("content", {})
        if not answer.body and not kinds:
            return None
        if answer.media not in kinds:
            return f"the body comes as {answer.media!r}, documented are {', '.join(kinds) or 'none'}"
        place = f"#/paths/{_escaped(route)}/{scope['method'].lower()}/responses/{answer.status}"
        return self._misfit(answer, f"{place}/content/{_escaped(answer.media)}/schema")

    def _misfit(self, answer: Answer, reference: str) -> str | None:
        if not answer.media.endswith("json"):
            return None
        errors = self._validator(reference).iter_errors(json.loads(answer.body))
        return next((f"{error.json_path}: {error.message[:300]}" for error in errors), None)

    def _new_validator(self, reference: str) -> Draft202012Validator:
        return Draft202012Validator({**self._app.openapi(), "$ref": reference})


def _escaped(part: str | None) -> str:
    return (part or "").replace("~", "~0").replace("/", "~1")
