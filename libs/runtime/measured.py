"""Every request's duration by route and status, and `/metrics`, where Prometheus reads what this process measures.

`/metrics` needs no credentials: it stands on the service's own listener and shows no tenant, only topics, routes and
counts. Source: OpenTelemetry semantic conventions, HTTP metrics (http.server.request.duration).
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.runtime import metrics

METRICS_PATH: Final = "/metrics"
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measured:
    """Outermost layer: what a caller waited for, whatever was inside it."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop_time_s = asyncio.get_running_loop().time
        begun_s, status = loop_time_s(), 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            if status:  # none: the caller went away before there was an answer
                metrics.REQUEST_DURATION.record(loop_time_s() - begun_s, _labels(scope, status))


def route_of(scope: Scope) -> str | None:
    """Return the template of the route that served `scope`, as /v1/tenants/{tenant_id}; None where there is none."""
    return getattr(scope.get("route"), "path", None)


def _labels(scope: Scope, status: int) -> dict[str, str | int]:
    method = scope["method"] if scope["method"] in KNOWN_METHODS else "_OTHER"
    labels = {"http.request.method": method, "http.response.status_code": status}
    route = route_of(scope)
    return labels if route is None else labels | {"http.route": route}


async def metrics_answer() -> Response:
    """Answer with all that this process measures."""
    return Response(metrics.exposition(), media_type=metrics.MEDIA_TYPE)
