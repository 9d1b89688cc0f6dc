"""One call of a tenant, and what its answer means.

The ledger must never guess. A call is admitted (2xx) or denied (429) by its answer. A 5xx, and a connection that was
never made, counted nothing at the gateway (it marks a call as usage only once the answer stands), so the call is made
again. A call whose answer was lost on the way may have been counted: it is neither repeated nor guessed, but counted as
failed, and a run with a failed call proves nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a tenant that brings `units` of `metric` with it. One that `insists` comes back after a 429."""

    tenant: TenantLoad
    metric: str
    units: int
    method: str
    path: str
    body: object
    insists: bool = False

    def __str__(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"


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
        return await self._ask(Call(tenant, "gql_calls", 1, "POST", "/graphql", body))

    async def ingest(self, tenant: TenantLoad, batch_id: str, events: int) -> httpx.Response | None:
        """Send one batch of `events` events."""
        body = {"batch_id": batch_id, "events": [{"n": n} for n in range(events)]}
        return await self._ask(Call(tenant, "ingest_events", events, "POST", "/ingest", body))

    async def store(self, tenant: TenantLoad, sample: dict[str, Any], units: int) -> httpx.Response | None:
        """Report one storage sample, which brings `units` byte-microseconds with it.

        What is stored is stored, whether or not it may be reported now: a refused sample comes back as it was told.
        """
        body = {name: value for name, value in sample.items() if name != "resource"}
        path = f"/storage/{sample['resource']}"
        return await self._ask(Call(tenant, "storage_gb", units, "PUT", path, body, insists=True))

    async def flush(self) -> dict[str, Any]:
        """Have the gateway send on all that it holds; return its counts."""
        response = await self._client.post("/-/flush")
        response.raise_for_status()
        counts: dict[str, Any] = response.json()
        return counts

    async def _ask(self, call: Call) -> httpx.Response | None:
        """Make the call until its outcome is known, and count it; None where it stays unknown."""
        entry = (call.tenant.tenant_id, call.metric)
        self.tally.calls += 1
        self.tally.offered[entry] += call.units
        response = await (self._insist(call) if call.insists else self._answer(call))
        if response is None:
            return None
        if response.is_success:
            self.tally.admitted[entry] += call.units
        elif response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self.tally.denied[entry] += call.units
        else:
            self.tally.fail(f"{call}: {response.status_code} {response.text[:200]}")
        return response

    async def _insist(self, call: Call) -> httpx.Response | None:
        """Return the first answer that is no 429, or the last one after ATTEMPTS."""
        response = await self._answer(call)
        for _ in range(ATTEMPTS):
            if response is None or response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            self.tally.retries += 1
            await asyncio.sleep(float(response.headers["retry-after"]))
            response = await self._answer(call)
        return response

    async def _answer(self, call: Call) -> httpx.Response | None:
        """Return the first answer that is no 5xx; None, counted as failed, where there is none."""
        pause_s, last = self._first_pause_s, ""
        headers = {"authorization": f"Bearer {call.tenant.key}"}
        for _ in range(ATTEMPTS):
            try:
                response = await self._client.request(call.method, call.path, json=call.body, headers=headers)
            except _NEVER_SENT as error:
                last = repr(error)
            except httpx.TransportError as error:
                self.tally.fail(f"{call}: the answer was lost ({error!r})")
                return None
            else:
                if not response.is_server_error:
                    return response
                last = f"{response.status_code} {response.text[:200]}"
            self.tally.retries += 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        self.tally.fail(f"{call}: {last}, {ATTEMPTS} times")
        return None


def http_client(gateway_url: str) -> httpx.AsyncClient:
    """Return the client that all calls go through."""
    limits = httpx.Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_MAX_S
    )
    return httpx.AsyncClient(base_url=gateway_url, timeout=ANSWER_WITHIN_S, limits=limits, trust_env=False)
