"""Routes that read JSON strictly and with a bound: what every router of a service is made of.

FastAPI reads a body with `request.json()`, which is Python's json.loads: it takes the last of two equal names, NaN and
Infinity. A StrictRoute hands its endpoint a request whose `json()` refuses them, so that no service has to.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.routing import APIRoute

from libs.runtime.openapi import Malformed
from libs.runtime.strict_json import NotStrictJson, strict_json

Responses = dict[int | str, dict[str, Any]]


class StrictRequest(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> object:
        """Return what the body holds; raise HTTPException 400 where `strict_json` refuses it."""
        if not hasattr(self, "_json"):
            try:
                self._json = strict_json(await self.body())
            except NotStrictJson as error:
                # FastAPI hides any other error of a body behind one sentence. libs/runtime/web.py makes this a problem.
                raise HTTPException(Malformed.status, str(error)) from error
        return self._json


class StrictRoute(APIRoute):
    """A route whose endpoint and body get a StrictRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind a strict request."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


class StrictRouter(APIRouter):
    """A router of strict routes, each of whose JSON bodies has a bound: its own, or its router's."""

    def __init__(
        self, *, prefix: str = "", max_body_size: int | None = None, responses: Responses | None = None
    ) -> None:
        """Take FastAPI's settings of a router; `max_body_size` in bytes."""
        super().__init__(prefix=prefix, max_body_size=max_body_size, responses=responses, route_class=StrictRoute)


def require_strict_routes(router: APIRouter) -> None:
    """Raise TypeError for a route that reads JSON otherwise, ValueError for one that takes a body without a bound."""
    for route in router.routes:
        if not isinstance(route, StrictRoute):
            raise TypeError(f"{route}: make its router a StrictRouter")
        if route.body_field is not None and (route.max_body_size or router.max_body_size) is None:
            raise ValueError(f"{route}: a body needs max_body_size, of the route or of its router")
