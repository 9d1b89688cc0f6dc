"""The ASGI middleware: who passes, what the refused are told, and what happens when nobody can be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from maestro_sdk import QuotaClient, QuotaMiddleware
from maestro_sdk.asgi import Message, Receive, Scope, Send
from maestro_sdk.middleware import OnUnavailable
from tests.support.sdk import TENANT, Service, admitted, problem, refused, unreachable

KEY = {"authorization": "Bearer caller-key"}


class Application:
    """An ASGI application that streams, and keeps the scopes it served."""

    def __init__(self) -> None:
        self.served: list[Scope] = []

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        self.served.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await send({"type": "http.response.body", "body": b"second"})


@pytest.fixture
def application() -> Application:
    return Application()


def protected(application: Application, service: Service, **options: Any) -> QuotaMiddleware:
    return QuotaMiddleware(application, QuotaClient("http://quota", "edge-key", transport=service.transport), **options)


async def call(middleware: QuotaMiddleware, path: str = "/", headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url="http://gateway") as client:
        return await client.get(path, headers=KEY if headers is None else headers)


async def sent_by(middleware: QuotaMiddleware, scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await middleware(scope, receive, send)
    return sent


def span_around() -> tuple[trace.Span, Callable[[], dict[str, Any]]]:
    span = TracerProvider().get_tracer("test").start_span("request")
    assert isinstance(span, ReadableSpan)
    return span, lambda: dict(span.attributes or {})


async def test_an_admitted_request_is_served_with_the_fields_of_its_quota(application: Application) -> None:
    response = await call(protected(application, Service(admitted())))

    assert (response.status_code, response.text) == (200, "first second")
    assert response.headers["ratelimit"] == '"qps";r=12;t=1'
    assert response.headers["ratelimit-policy"] == '"qps";q=50;w=1'
    assert response.headers["content-type"] == "text/plain"


async def test_the_application_and_the_span_learn_the_tenant(application: Application) -> None:
    span, attributes = span_around()

    with trace.use_span(span):
        await call(protected(application, Service(admitted())))

    assert application.served[0]["state"]["maestro_tenant"] == TENANT
    assert attributes() == {"maestro.tenant.id": TENANT}


async def test_the_quota_is_asked_with_the_callers_own_key(application: Application) -> None:
    service = Service(admitted())

    await call(protected(application, service, limit="events_s", cost=lambda scope: len(scope["path"])), "/five")

    assert service.asked == [{"limit": "events_s", "cost": 5, "token": "caller-key"}]


async def test_a_refused_request_gets_the_document_and_the_fields_and_is_not_served(application: Application) -> None:
    told = refused()
    middleware = protected(application, Service(told))

    response = await call(middleware)

    assert (response.status_code, response.content) == (429, told.content)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "1"
    assert response.headers["ratelimit"] == '"qps";r=0;t=1'
    assert response.headers["ratelimit-policy"] == '"qps";q=50;w=1'
    assert application.served == []
    assert middleware.counts.refused == 1


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic dTpw"}, {"authorization": "Bearer "}])
async def test_a_request_without_a_key_is_refused_unasked(application: Application, headers: dict[str, str]) -> None:
    service = Service(admitted())

    response = await call(protected(application, service), headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="maestro"'
    assert response.json()["error"] == "unauthenticated"
    assert not service.requests
    assert not application.served


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "caller_unauthenticated"),
        (403, "wrong_tenant"),
        (422, "cost_exceeds_burst"),
        (429, "caller_too_many_attempts"),
    ],
)
async def test_what_is_said_about_the_caller_is_handed_on(application: Application, status: int, code: str) -> None:
    response = await call(protected(application, Service(problem(status, code, **{"X-Other": "kept back"}))))

    assert (response.status_code, response.json()["error"]) == (status, code)
    assert "x-other" not in response.headers
    assert application.served == []


async def test_an_exempt_path_is_served_unasked(application: Application) -> None:
    service = Service(unreachable())

    response = await call(protected(application, service, exempt=["/healthz"]), "/healthz", headers={})

    assert response.status_code == 200
    assert service.requests == []


async def test_without_an_answer_a_caller_known_lately_is_served_as_its_tenant(application: Application) -> None:
    middleware = protected(application, Service(admitted(), unreachable()))
    await call(middleware)

    response = await call(middleware)

    assert response.status_code == 200
    assert application.served[1]["state"]["maestro_tenant"] == TENANT
    assert middleware.counts.degraded_admitted == 1


async def test_without_an_answer_a_key_never_seen_is_not_let_in(application: Application) -> None:
    middleware = protected(application, Service(unreachable()))

    response = await call(middleware)

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert application.served == []
    assert middleware.counts.degraded_refused == 1


async def test_a_key_found_bad_is_forgotten_at_once(application: Application) -> None:
    middleware = protected(application, Service(admitted(), problem(401, "caller_unauthenticated"), unreachable()))
    await call(middleware)
    await call(middleware)

    response = await call(middleware)

    assert response.status_code == 503


async def test_an_application_that_checks_keys_itself_may_have_all_served(application: Application) -> None:
    middleware = protected(application, Service(unreachable()), on_unavailable="allow_unknown")

    response = await call(middleware)

    assert response.status_code == 200
    assert application.served[0]["state"]["maestro_tenant"] is None


async def test_an_edge_may_rather_serve_nobody_than_unlimited(application: Application) -> None:
    middleware = protected(application, Service(admitted(), unreachable()), on_unavailable="deny")
    await call(middleware)

    response = await call(middleware)

    assert response.status_code == 503
    assert response.json()["error"] == "quota_unavailable"


@pytest.mark.parametrize("on_unavailable", ["allow", "allow_unknown", "deny"])
async def test_a_decision_without_an_answer_is_never_silent(
    application: Application, on_unavailable: OnUnavailable, caplog: pytest.LogCaptureFixture
) -> None:
    middleware = protected(application, Service(unreachable()), on_unavailable=on_unavailable)
    span, attributes = span_around()

    with trace.use_span(span):
        await call(middleware)

    assert attributes()["maestro.quota.degraded"] is True
    assert "nobody there" in caplog.text
    assert middleware.counts.degraded_admitted + middleware.counts.degraded_refused == 1


async def test_the_end_of_an_outage_says_how_many_were_decided_without_an_answer(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    middleware = protected(application, Service(unreachable(), unreachable(), admitted()))
    await call(middleware)
    await call(middleware)

    await call(middleware)

    assert "decided without it: 2" in caplog.text


async def test_an_edge_whose_own_key_is_refused_does_not_blame_its_callers(application: Application) -> None:
    response = await call(protected(application, Service(problem(401, "unauthenticated"))))

    assert response.status_code == 503


async def test_a_lifespan_passes_through(application: Application) -> None:
    service = Service(unreachable())

    await sent_by(protected(application, service), {"type": "lifespan"})

    assert application.served == [{"type": "lifespan"}]


async def test_a_refused_websocket_is_closed_before_it_is_accepted(application: Application) -> None:
    scope = {"type": "websocket", "path": "/ws", "headers": [(b"authorization", b"Bearer caller-key")]}

    sent = await sent_by(protected(application, Service(refused())), scope)

    assert sent == [{"type": "websocket.close", "code": 1013, "reason": "429"}]
    assert application.served == []


async def test_a_refused_websocket_gets_the_document_where_the_server_can_send_one(application: Application) -> None:
    scope = {
        "type": "websocket",
        "path": "/ws",
        "headers": [(b"authorization", b"Bearer caller-key")],
        "extensions": {"websocket.http.response": {}},
    }
    told = refused()

    sent = await sent_by(protected(application, Service(told)), scope)

    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert (sent[0]["status"], sent[1]["body"]) == (429, told.content)
