"""ASGI middleware: asks the quota before a request is served, and answers the refusal itself.

Pure ASGI: what the application streams is not touched. The application finds the caller's tenant in
`scope["state"]["maestro_tenant"]` (Starlette and FastAPI: `request.state.maestro_tenant`), and so does the current
OpenTelemetry span in `maestro.tenant.id`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from maestro_sdk.answers import Admitted
from maestro_sdk.asgi import (
    NO_ANSWER,
    NO_KEY,
    App,
    Denial,
    Message,
    Receive,
    Scope,
    Send,
    bearer_token,
    raw_headers,
)
from maestro_sdk.callers import RecentCallers
from maestro_sdk.client import QuotaClient
from maestro_sdk.clock import Clock, SystemClock
from maestro_sdk.errors import CallerRejected, QuotaUnavailable
from maestro_sdk.spans import mark_degraded, name_tenant

OnUnavailable = Literal["allow", "allow_unknown", "deny"]
UNAUTHENTICATED: Final = 401

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PassageCounts:
    """What became of the requests. The two degraded ones are those that no quota was asked for."""

    admitted: int = 0
    refused: int = 0
    rejected: int = 0
    degraded_admitted: int = 0
    degraded_refused: int = 0


@dataclass(frozen=True, slots=True)
class Passage:
    """A request that may go on: for whom, None where that is not known, and the HTTP fields of its response."""

    tenant: str | None
    fields: Mapping[str, str] = field(default_factory=dict)


class QuotaMiddleware:
    """Protects an ASGI application by the quotas of the tenants that call it.

    Args:
        app: the application.
        client: holds this edge's key, which may name the tenants in its `act_for`.
        limit: what a request is checked against: `qps`, `events_s` or `storage_gb`.
        cost: of a request, in the limit's unit; a number, or a function of the ASGI scope.
        credential: finds the caller's API key in the ASGI scope; by default `Authorization: Bearer`.
        on_unavailable: what happens while the quota cannot be asked. `allow` serves callers whose key was found good
            in the last minutes, since a limit may fail open and a key must not; `allow_unknown` serves all, for
            applications that check keys themselves; `deny` answers 503. All three are counted, logged and traced.
        exempt: paths that are served unasked, such as health checks.

    """

    def __init__(
        self,
        app: App,
        client: QuotaClient,
        *,
        limit: str = "qps",
        cost: int | Callable[[Scope], int] = 1,
        credential: Callable[[Scope], str | None] = bearer_token,
        on_unavailable: OnUnavailable = "allow",
        exempt: Collection[str] = (),
    ) -> None:
        self._app = app
        self._client = client
        self._limit = limit
        self._cost = cost
        self._credential = credential
        self._degraded = Degraded(on_unavailable, SystemClock())
        self._exempt = frozenset(exempt)
        self.counts = PassageCounts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in {"http", "websocket"} or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        token = self._credential(scope)
        passage = NO_KEY if token is None else await self._ask(scope, token)
        if isinstance(passage, Denial):
            self.counts.rejected += passage is NO_KEY
            await passage.send(scope, send)
            return
        scope.setdefault("state", {})["maestro_tenant"] = passage.tenant
        if passage.tenant is not None:
            name_tenant(passage.tenant)
        await self._app(scope, receive, _with_fields(send, passage.fields))

    async def _ask(self, scope: Scope, token: str) -> Passage | Denial:
        cost = self._cost if isinstance(self._cost, int) else self._cost(scope)
        try:
            answer = await self._client.check(self._limit, cost=cost, token=token)
        except CallerRejected as rejected:
            self.counts.rejected += 1
            if rejected.status == UNAUTHENTICATED:
                self._degraded.forget(token)
            return Denial(rejected.status, rejected.body, rejected.fields)
        except QuotaUnavailable as error:
            return self._without_answer(token, error)
        self._degraded.is_over(token, answer.tenant)
        if isinstance(answer, Admitted):
            self.counts.admitted += 1
            return Passage(answer.tenant, answer.fields)
        self.counts.refused += 1
        return Denial(429, answer.body, answer.fields)

    def _without_answer(self, token: str, error: QuotaUnavailable) -> Passage | Denial:
        mark_degraded()
        passage = self._degraded.passage(token, error)
        self.counts.degraded_admitted += isinstance(passage, Passage)
        self.counts.degraded_refused += isinstance(passage, Denial)
        return passage


class Degraded:
    """What an edge does while the quota cannot be asked."""

    def __init__(self, on_unavailable: OnUnavailable, clock: Clock) -> None:
        """Follow `on_unavailable`; remember callers by `clock`."""
        self._on_unavailable = on_unavailable
        self._recent = RecentCallers(clock)
        self._unasked_count = 0

    def is_over(self, token: str, tenant: str) -> None:
        """The quota answered: `token` is the tenant's."""
        self._recent.remember(token, tenant)
        if self._unasked_count:
            _log.warning("the quota answers again; requests decided without it: %d", self._unasked_count)
            self._unasked_count = 0

    def forget(self, token: str) -> None:
        """The quota answered: `token` is nobody's."""
        self._recent.forget(token)

    def passage(self, token: str, error: QuotaUnavailable) -> Passage | Denial:
        """Return what becomes of a request of `token` without an answer."""
        if not self._unasked_count:  # once an outage; its end says how many there were
            _log.warning("the quota cannot be asked (%s); until it can: %s", error, self._on_unavailable)
        self._unasked_count += 1
        tenant = self._recent.tenant_of(token)
        may_pass = self._on_unavailable == "allow_unknown" or (self._on_unavailable == "allow" and tenant is not None)
        return Passage(tenant) if may_pass else NO_ANSWER


def _with_fields(send: Send, fields: Mapping[str, str]) -> Send:
    async def send_with_fields(message: Message) -> None:
        if message["type"] in {"http.response.start", "websocket.accept"}:
            message = {**message, "headers": [*message.get("headers", ()), *raw_headers(fields)]}
        await send(message)

    return send_with_fields
