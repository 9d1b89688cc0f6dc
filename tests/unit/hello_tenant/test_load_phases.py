from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from samples.hello_tenant.load.caller import Caller
from samples.hello_tenant.load.phases import STORM_WORKERS, Phases
from samples.hello_tenant.load.plan import Plan, TenantLoad
from samples.hello_tenant.load.tally import Tally

TENANT = TenantLoad("tnt_a", "Acme", "mst_test_key", calls=5, calls_s=1000, storm_calls=200)
CALLS = ("tnt_a", "gql_calls")
EVENTS = ("tnt_a", "ingest_events")
REFUSED = httpx.Response(
    429, json={"error": "quota_exceeded", "retryAfter": 0, "limit": "qps"}, headers={"retry-after": "0"}
)

Answer = Callable[[int], httpx.Response]


@dataclass
class Gateway:
    """Answers the GraphQL call number n by `graphql(n)`, others by `ingest`, then 202; counts calls from 1."""

    graphql: Answer
    calls: int = 0
    paths: list[str] = field(default_factory=list)
    ingest: list[httpx.Response] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if request.url.path == "/-/flush":
            return httpx.Response(200, json={"spans_exported": self.calls})
        if request.url.path != "/graphql":
            return self.ingest.pop(0) if self.ingest else httpx.Response(202)
        self.calls += 1
        return self.graphql(self.calls)


def phases(graphql: Answer, tenant: TenantLoad = TENANT) -> tuple[Phases, Tally, Gateway]:
    gateway = Gateway(graphql)
    client = httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(gateway))
    tally = Tally()
    told: list[Any] = []
    return Phases(Plan("", "seed", 0, (tenant,)), Caller(client, tally), lambda *now: told.append(now)), tally, gateway


def admitted(_number: int) -> httpx.Response:
    return httpx.Response(200)


async def test_the_first_event_is_one_call_that_was_sent_on() -> None:
    run, tally, gateway = phases(admitted)
    accepted_at = await run.first_event()
    assert accepted_at > 0
    assert gateway.paths == ["/graphql", "/-/flush"]
    assert tally.admitted[CALLS] == 1


async def test_every_tenant_makes_exactly_the_calls_of_its_plan() -> None:
    tenant = replace(TENANT, batches=3, batches_s=1000, events_per_batch=7, storage_bytes=1000)
    run, tally, gateway = phases(admitted, tenant)
    await run.steady()
    assert (tally.admitted[CALLS], tally.admitted[EVENTS]) == (5, 21)
    assert sum(path.startswith("/storage/") for path in gateway.paths) == 12
    assert tally.failed == 0


async def test_in_a_storm_each_worker_stops_at_its_first_refusal() -> None:
    run, tally, _ = phases(lambda number: httpx.Response(200) if number <= 60 else REFUSED)
    await run.storm(TENANT)
    assert tally.denied[CALLS] == STORM_WORKERS + 1
    assert tally.admitted[CALLS] == 60


async def test_the_refused_tenant_comes_back_once_as_it_was_told() -> None:
    run, _, _ = phases(lambda number: httpx.Response(200) if number <= 60 or number > 100 else REFUSED)
    (refusal,) = await run.storm(TENANT)
    assert (refusal.status, refusal.limit, refusal.status_after) == (429, "qps", 200)


async def test_a_storm_that_nobody_stops_ends_by_itself_without_a_refusal() -> None:
    run, tally, _ = phases(admitted)
    assert await run.storm(TENANT) == []
    assert tally.admitted[CALLS] == TENANT.storm_calls


async def test_of_two_batches_at_once_the_refused_one_is_followed_by_another_as_told() -> None:
    tenant = replace(TENANT, storm_calls=0, storm_batch_events=800)
    run, tally, gateway = phases(admitted, tenant)
    gateway.ingest = [httpx.Response(202), REFUSED, httpx.Response(202)]
    (refusal,) = await run.storm(tenant)
    assert (refusal.status, refusal.status_after) == (429, 202)
    assert (tally.offered[EVENTS], tally.denied[EVENTS]) == (2400, 800)
