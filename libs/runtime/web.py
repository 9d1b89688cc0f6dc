"""The HTTP shell of a service: problem documents, health, request ids, trace context, and the server itself."""

from __future__ import annotations

import asyncio
import gc
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Literal

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.runtime import metrics, problem
from libs.runtime.errors import Broken, MaestroError, TooLarge, Unavailable
from libs.runtime.json_bodies import StrictRoute, require_strict_routes
from libs.runtime.measured import METRICS_PATH, Measured, metrics_answer, route_of
from libs.runtime.openapi import Malformed, completed, refusals
from libs.runtime.settings import ServiceSettings
from libs.runtime.tracing import span

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Readiness = Callable[[], Awaitable[None]]

_LOG = logging.getLogger(__name__)
_COLLECT_AFTER: Final = 50_000  # objects made and not let go, of those that may be in a cycle
DRAIN_S: Final = 8  # below the ten seconds that a supervisor grants before it kills
_ENDING: Final = "the process ends, and nothing is known of the request: send it again"
_MAX_REQUEST_ID_CHARS: Final = 128
_METRICS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {metrics.MEDIA_TYPE.partition(";")[0]: {"schema": {"type": "string"}}}}
}


class _HttpError(MaestroError):
    """What the HTTP layer itself answers: no such path, wrong method."""

    code = "http_error"
    title = "The request cannot be served"

    def __init__(self, error: HTTPException) -> None:
        super().__init__(str(error.detail))
        self._headers = dict(error.headers or {})

    @property
    def headers(self) -> dict[str, str]:
        """Those of the HTTP layer's answer, such as Allow."""
        return self._headers


class ServiceApp(FastAPI):
    """An application whose OpenAPI document is complete (openapi.py) and whose bodies are strict (json_bodies.py)."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - FastAPI types them
        """Take FastAPI's settings of an application."""
        super().__init__(**settings)
        self.router.route_class = StrictRoute

    def include_router(self, router: APIRouter, **settings: Any) -> None:  # noqa: ANN401 - FastAPI types them
        """Include a router; raise TypeError or ValueError where one of its routes would read JSON less strictly."""
        require_strict_routes(router)
        super().include_router(router, **settings)

    def openapi(self) -> dict[str, Any]:
        """Return the document; it is made once."""
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi())
        return self.openapi_schema


class Health(BaseModel):
    """How a service is."""

    status: Literal["alive", "ready"]
    service: str


class Edge:
    """Outermost layer of ours: one span per request (child of the caller's), a request id, an answer to any error.

    A request that the server cancels, since it ends, is answered too: uvicorn would say 500, and not when to come back.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode("latin-1"))]
            await send(message)

        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        with span(scope["method"], parent=traceparent, server=True) as current:
            try:
                await self._app(scope, receive, _in_our_words(scope, receive, send_with_id))
            except asyncio.CancelledError:  # the server ends, and has waited for as long as it may (DRAIN_S)
                if not started:
                    await answer(Unavailable(_ENDING), Request(scope))(scope, receive, send_with_id)
                raise
            except Exception as error:  # the one broad except: what nobody foresaw still gets an answer and a log line
                if started:
                    raise
                _LOG.exception("unexpected error", extra={"request_id": request_id, "path": scope["path"]})
                await _unexpected(error, Request(scope))(scope, receive, send_with_id)
            finally:
                current.update_name(f"{scope['method']} {route_of(scope) or ''}".rstrip())


def _request_id(given: bytes) -> str:
    text = given[:_MAX_REQUEST_ID_CHARS].decode("latin-1")
    return text if text and text.isprintable() else uuid.uuid4().hex


def _in_our_words(scope: Scope, receive: Receive, send: Send) -> Send:
    """Return a `send` that turns the plain 413 of a route's `max_body_size` into our problem document."""
    is_replaced = False

    async def send_problem(message: Message) -> None:
        nonlocal is_replaced
        if message["type"] == "http.response.start" and _is_plain_too_large(message):
            is_replaced = True
            refusal = answer(TooLarge("the body is larger than this route takes"), Request(scope))
            await refusal(scope, receive, send)
        elif not is_replaced:
            await send(message)

    return send_problem


def _is_plain_too_large(message: Message) -> bool:
    kind = dict(message["headers"]).get(b"content-type", b"").decode("latin-1")
    return bool(message["status"] == TooLarge.status) and kind != problem.MEDIA_TYPE


def create_app(name: str, lifespan: Lifespan, *, ready: Readiness) -> FastAPI:
    """Return the application of service `name`; `ready` raises Unavailable while the service cannot serve."""
    app = ServiceApp(
        title=f"Maestro {name}",
        version="1",
        lifespan=lifespan,
        # No interactive pages: those of FastAPI load their scripts from elsewhere. Any viewer can open the document.
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,  # a redirect would be an answer that no document knows
        # Edge makes the one span of a request; FastAPI's own would be a second server span and four more inside it, and
        # nearly half of a small request's time.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(Edge)
    app.add_middleware(Measured)
    app.add_api_route(METRICS_PATH, metrics_answer, tags=["health"], response_class=Response, responses=_METRICS)
    app.add_exception_handler(MaestroError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_malformed)
    app.add_exception_handler(HTTPException, _on_http_error)

    @app.get("/healthz", tags=["health"])
    async def healthz() -> Health:
        """Say that the process runs."""
        return Health(status="alive", service=name)

    @app.get("/readyz", tags=["health"], responses=refusals(Unavailable))
    async def readyz() -> Health:
        """Say whether the service can serve now."""
        await ready()
        return Health(status="ready", service=name)

    return app


def answer(error: MaestroError, request: Request, *, status: int | None = None) -> Response:
    """Return the response of `error`: problem+json with the headers that belong to it."""
    actual = status or error.status
    metrics.count_denial(error, actual)
    document = problem.problem_of(error, instance=request.url.path)
    document["request_id"] = getattr(request.state, "request_id", None)
    document["status"] = actual
    return JSONResponse(document, status_code=actual, headers=error.headers, media_type=problem.MEDIA_TYPE)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MaestroError)
    return answer(error, request)


async def _on_malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [{"at": "/".join(str(part) for part in one["loc"]), "why": one["msg"]} for one in error.errors()]
    detail = "; ".join(f"{one['at']}: {one['why']}" for one in wrong)
    return answer(Malformed(detail, errors=wrong), request)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == Malformed.status:  # the body could not be read as JSON
        why = str(error.detail)
        return answer(Malformed(f"body: {why}", errors=[{"at": "body", "why": why}]), request)
    return answer(_HttpError(error), request, status=error.status_code)


def _unexpected(error: Exception, request: Request) -> Response:
    # The server's own log has the traceback; the caller learns the request id and nothing of our insides.
    if isinstance(error, OSError | TimeoutError):
        return answer(Unavailable("a store or the broker does not answer"), request)
    return answer(Broken("unexpected error; give the request id to operations"), request)


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve `app` until SIGTERM, then drain for at most DRAIN_S seconds."""
    _collect_less()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=DRAIN_S,
        server_header=False,
        timeout_keep_alive=30,
        proxy_headers=False,  # libs/access/peers.py believes the proxies that the operator names, and no others
    )


def _collect_less() -> None:
    """Have cycles looked for less often: a batch makes thousands of objects that all live until its end.

    With Python's own threshold, a sixth of a batch's time went into looking at them. What was imported stays for good.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
