"""Drives every route of a service to every status that its OpenAPI document names.

A test gives one good request for every route, and the requests that lead to what is the route's own. What holds for all
routes is driven here: no key, a key without scopes, an address that guessed too often, a body past the bound, a
directory that is not caught up, and an application that was never wired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx
from fastapi import FastAPI

from tests.support.access import WHY
from tests.support.watched import watched

GUESSES: Final = 200  # more than any address may get wrong
GUESSED: Final = "mst_local_aaaaaaaaaaaaaaaa_" + "x" * 43
TOO_MANY: Final = 429
FLOODED: Final = "203.0.113.9"
QUIET: Final = "192.0.2.1"
OPEN: Final = (413, 500)
PLAIN_ROUTES: Final = {("GET", "/healthz", 200), ("GET", "/readyz", 200), ("GET", "/metrics", 200)}


@dataclass(frozen=True)
class Ask:
    """A request: a route, who sends it (the name of a key of the stage), and what it says."""

    method: str
    route: str
    key: str = ""
    json: Any = None
    content: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    address: str = QUIET
    under: str = ""  # a fault that holds meanwhile: "unwired" or "unfed"

    def but(self, **changes: Any) -> Ask:
        """Return this request with changes."""
        return replace(self, **changes)


@dataclass
class Stage:
    """A served application, the keys and the names that requests use."""

    app: FastAPI
    keys: Mapping[str, str]
    names: Mapping[str, str]

    async def answer(self, ask: Ask) -> httpx.Response:
        """Send a request."""
        transport = httpx.ASGITransport(watched(self.app), raise_app_exceptions=False, client=(ask.address, 1))
        headers = WHY | dict(ask.headers)
        if ask.key:
            headers["authorization"] = f"Bearer {self.keys.get(ask.key, ask.key)}"
        url = ask.route.format(**{**self.names, **ask.names})
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            with self._fault(ask.under):
                return await client.request(
                    ask.method, url, json=ask.json, content=ask.content, params=dict(ask.query) or None, headers=headers
                )

    async def flood(self, ask: Ask) -> None:
        """Guess keys from one address until it is no longer listened to."""
        for _ in range(GUESSES):
            if (await self.answer(ask)).status_code == TOO_MANY:
                return
        raise AssertionError("the address is still listened to")

    def _fault(self, name: str) -> AbstractContextManager[None]:
        if name == "unwired":
            return self._unwired()
        return self._unfed() if name == "unfed" else nullcontext()

    @contextmanager
    def _unwired(self) -> Iterator[None]:
        kept = dict(self.app.state._state)
        with ExitStack() as stack:
            stack.callback(self.app.state._state.update, kept)
            self.app.state._state.clear()
            yield

    @contextmanager
    def _unfed(self) -> Iterator[None]:
        directory = self.app.state.door._directory
        with ExitStack() as stack:
            stack.callback(directory.trust)
            directory.distrust()
            yield


def documented(app: FastAPI) -> set[tuple[str, str, int]]:
    """Return every (method, route, status) of the application's document, but for /healthz, /readyz and /metrics."""
    return {
        (method.upper(), route, int(status))
        for route, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        for status in operation["responses"]
    } - PLAIN_ROUTES


def common(app: FastAPI, good: Sequence[Ask]) -> list[tuple[int, Ask]]:
    """Return the requests that lead every documented route to what is answered everywhere, with their statuses."""
    found = documented(app)
    asks = [
        (status, ask)
        for one in good
        for status, ask in (
            (401, one.but(key="")),
            (403, one.but(key="powerless")),
            (413, one.but(content=b"{}", json=None, headers={**one.headers, "content-length": "1000000000"})),
            (TOO_MANY, one.but(key=GUESSED, address=FLOODED)),
            (500, one.but(under="unwired")),
            (503, one.but(under="unfed")),
        )
        if one.key or status in OPEN  # who needs no key is not asked for one
    ]
    return [(status, ask) for status, ask in asks if (ask.method, ask.route, status) in found]


async def drive(
    stage: Stage,
    good: Sequence[tuple[int, Ask]],
    own: Sequence[tuple[int, Ask]],
    seen: Sequence[tuple[int, Ask]] = (),
) -> None:
    """Send all, and fail where one is answered otherwise than said, or a documented status was not among them.

    `seen` are those that the test has sent by itself.
    """
    rows = [*good, *own, *common(stage.app, [ask for _, ask in good]), (503, Ask("GET", "/readyz", under="unfed"))]
    wrong: list[str] = []
    for status, ask in rows:
        if status == TOO_MANY and ask.address == FLOODED:
            await stage.flood(ask)  # room comes back with time
        answer = await stage.answer(ask)
        if answer.status_code != status:
            wrong.append(f"{ask} -> {answer.status_code}, not {status}: {answer.text[:200]}")
    assert wrong == [], "\n".join(wrong)
    driven = {(ask.method, ask.route.replace(":path", ""), status) for status, ask in (*rows, *seen)}
    never, more = documented(stage.app) - driven, driven - documented(stage.app)
    assert not never, f"documented, and never seen: {never}"
    assert not more, f"seen, and not documented: {more}"
