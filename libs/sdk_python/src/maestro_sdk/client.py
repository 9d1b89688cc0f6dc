"""The client of POST /v1/check: pooled connections, one short deadline, and no call that a cancellation can break."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

import httpx

from maestro_sdk.answers import Admitted, Refused, answer_of
from maestro_sdk.errors import QuotaUnavailable

TIMEOUT_S: Final = 0.25  # a check takes about a millisecond; whoever waits longer is better served unlimited
CONNECTIONS: Final = 64
KEEPALIVE_S: Final = 15.0  # below the 30 s after which the service closes an idle connection


class QuotaClient:
    """Asks whether a request may pass. Bound to one event loop; close it with `aclose` or `async with`."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Ask the quota service at `base_url` with `api_key`, an edge's or a tenant's, for at most `timeout_s`."""
        self._timeout_s = timeout_s
        self._asking: set[asyncio.Task[Admitted | Refused]] = set()
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {api_key}"},
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_S),
            transport=transport,
            trust_env=False,  # a proxy of the environment has no place between an edge and its quota
        )

    async def check(
        self, limit: str, *, cost: int = 1, tenant: str | None = None, token: str | None = None
    ) -> Admitted | Refused:
        """Ask for `cost` of `limit` (qps, events_s, storage_gb), for the tenant named or for the holder of `token`.

        A tenant's own key names neither. A cancelled caller leaves the request to end by itself, within its deadline:
        cut off in the middle, it could leave a connection in a state that nobody knows.

        Raises:
            CallerRejected: the answer is about the caller (401, 403, 422).
            QuotaUnavailable: there is no usable answer in time.

        """
        question = {"limit": limit, "cost": cost, "tenant": tenant, "token": token}
        asking = asyncio.create_task(self._ask({name: value for name, value in question.items() if value is not None}))
        self._asking.add(asking)
        asking.add_done_callback(self._done)
        return await asyncio.shield(asking)

    async def aclose(self) -> None:
        """Let open requests end, and close all connections."""
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, question: dict[str, object]) -> Admitted | Refused:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.post("/v1/check", json=question)
        except (httpx.HTTPError, TimeoutError) as error:
            raise QuotaUnavailable(f"{type(error).__name__}: {error}") from error
        return answer_of(response.status_code, response.headers, response.content)

    def _done(self, asking: asyncio.Task[Admitted | Refused]) -> None:
        self._asking.discard(asking)
        # Looked at even where nobody waits any more, or the event loop would report it as forgotten.
        if not asking.cancelled():
            asking.exception()
