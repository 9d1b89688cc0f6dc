"""One call of a tenant, and what its answer means.

The ledger must never guess. A call is admitted (2xx) or denied (429) by its answer. A 5xx, and a connection that was
never made, counted nothing at the gateway (it marks a call as usage only once the answer stands), so the call is made
again. A call whose answer was lost on the way may have been counted: it is neither repeated nor guessed, but counted as
failed, and a run with a failed call proves nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from samples.hello_tenant.load.plan import TenantLoad
from samples.hello_tenant.load.tally import Tally

ATTEMPTS = 10  # with the pauses below about twelve seconds: longer than a service takes to come back
FIRST_PAUSE_S = 0.1
PAUSE_MAX_S = 2.0
ANSWER_WITHIN_S = 60.0  # far above any answer seen; a call cut off here is a lost one
IDLE_MAX_S = 20.0  # below the gateway's own keep-alive, so that it never closes a connection under a request
CONNECTIONS = 64

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Caller:
    """Calls the gateway on behalf of tenants and keeps the tally."""

    def __init__(self, client: httpx.AsyncClient, tally: Tally, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._client = client
        self._first_pause_s = first_pause_s
        self.tally = tally

    async def graphql(self, tenant: TenantLoad, number: int) -> httpx.Response | None:
        """Make one GraphQL call; every tenth is a mutation."""
        if number % 10 == 0:
            document = "mutation Keep($id: ID!) { keep(id: $id) { id title } }"
        else:
            document = "query Read($id: ID!) { document(id: $id) { id title } }"
        body = {"query": document, "variables": {"id": f"doc-{number}"}}
        return await self._ask(tenant, "gql_calls", 1, ("POST", "/graphql", body))

    async def ingest(self, tenant: TenantLoad, batch_id: str, events: int) -> httpx.Response | None:
        """Send one batch of `events` events."""
        body = {"batch_id": batch_id, "events": [{"n": n} for n in range(events)]}
        return await self._ask(tenant, "ingest_events", events, ("POST", "/ingest", body))

    async def store(self, tenant: TenantLoad, sample: dict[str, Any], units: int) -> httpx.Response | None:
        """Report one storage sample, which brings `units` byte-microseconds with it."""
        path = f"/storage/{sample['resource']}"
        return await self._ask(tenant, "storage_gb", units, ("PUT", path, sample))

    async def flush(self) -> dict[str, Any]:
        """Have the gateway send on all that it holds; return its counts."""
        response = await self._client.post("/-/flush")
        response.raise_for_status()
        counts: dict[str, Any] = response.json()
        return counts

    async def _ask(
        self, tenant: TenantLoad, metric: str, units: int, request: tuple[str, str, object]
    ) -> httpx.Response | None:
        """Make the call until its outcome is known; None where it stays unknown."""
        entry = (tenant.tenant_id, metric)
        self.tally.calls += 1
        self.tally.offered[entry] += units
        response = await self._answer(tenant, request)
        if response is None:
            return None
        if response.is_success:
            self.tally.admitted[entry] += units
        elif response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self.tally.denied[entry] += units
        else:
            self.tally.fail(f"{request[0]} {request[1]}: {response.status_code} {response.text[:200]}")
        return response

    async def _answer(self, tenant: TenantLoad, request: tuple[str, str, object]) -> httpx.Response | None:
        method, path, body = request
        pause_s, last = self._first_pause_s, "no attempt"
        for _ in range(ATTEMPTS):
            try:
                response = await self._client.request(
                    method, path, json=body, headers={"authorization": f"Bearer {tenant.key}"}
                )
            except _NEVER_SENT as error:
                last = repr(error)
            except httpx.TransportError as error:
                self.tally.fail(f"{method} {path}: the answer was lost ({error!r})")
                return None
            else:
                if not response.is_server_error:
                    return response
                last = f"{response.status_code} {response.text[:200]}"
            self.tally.retries += 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        self.tally.fail(f"{method} {path}: {last}, {ATTEMPTS} times")
        return None


def http_client(gateway_url: str) -> httpx.AsyncClient:
    """Return the client that all calls go through."""
    limits = httpx.Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_MAX_S
    )
    return httpx.AsyncClient(base_url=gateway_url, timeout=ANSWER_WITHIN_S, limits=limits, trust_env=False)
