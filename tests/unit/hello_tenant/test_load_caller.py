from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from samples.hello_tenant.load.caller import ATTEMPTS, Caller
from samples.hello_tenant.load.plan import TenantLoad
from samples.hello_tenant.load.tally import Tally

TENANT = TenantLoad("tnt_a", "Acme", "mst_test_key", calls=1, calls_s=1)
CALLS = ("tnt_a", "gql_calls")

Outcome = httpx.Response | httpx.TransportError


@dataclass
class Gateway:
    """Gives the outcomes in turn, the last one for ever."""

    outcomes: list[Outcome]
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return outcome


async def called(*outcomes: Outcome, pause_s: float = 0.0) -> tuple[Tally, Gateway]:
    gateway = Gateway(list(outcomes))
    client = httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(gateway))
    caller = Caller(client, Tally(), first_pause_s=pause_s)
    await caller.graphql(TENANT, 1)
    return caller.tally, gateway


async def test_a_success_is_one_offered_and_one_admitted() -> None:
    tally, gateway = await called(httpx.Response(200))
    assert (tally.offered[CALLS], tally.admitted[CALLS], tally.denied[CALLS], tally.failed) == (1, 1, 0, 0)
    assert gateway.requests[0].headers["authorization"] == "Bearer mst_test_key"


async def test_a_refusal_is_one_offered_and_one_denied_and_is_not_repeated() -> None:
    tally, gateway = await called(httpx.Response(429))
    assert (tally.offered[CALLS], tally.admitted[CALLS], tally.denied[CALLS], tally.failed) == (1, 0, 1, 0)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("trouble", [httpx.Response(503), httpx.ConnectError("refused")], ids=["503", "not connected"])
async def test_a_call_that_counted_nothing_is_made_again_and_offered_once(trouble: Outcome) -> None:
    tally, _ = await called(trouble, trouble, httpx.Response(200))
    assert (tally.offered[CALLS], tally.admitted[CALLS], tally.retries, tally.failed) == (1, 1, 2, 0)


async def test_a_lost_answer_is_neither_repeated_nor_guessed() -> None:
    tally, gateway = await called(httpx.ReadError("reset"), httpx.Response(200))
    assert (tally.offered[CALLS], tally.admitted[CALLS], tally.denied[CALLS], tally.failed) == (1, 0, 0, 1)
    assert len(gateway.requests) == 1


async def test_a_server_that_stays_away_ends_as_a_failed_call() -> None:
    tally, gateway = await called(httpx.Response(503))
    assert (len(gateway.requests), tally.failed) == (ATTEMPTS, 1)


async def test_an_answer_of_another_kind_is_a_failed_call_and_says_why() -> None:
    tally, _ = await called(httpx.Response(401, text="no key"))
    assert tally.failed == 1
    assert tally.failures == ["POST /graphql: 401 no key"]


@pytest.mark.parametrize(
    ("call", "metric", "units"),
    [
        (lambda caller: caller.ingest(TENANT, "b-1", 40), "ingest_events", 40),
        (lambda caller: caller.store(TENANT, {"resource": "documents"}, 10**18), "storage_gb", 10**18),
    ],
    ids=["ingest", "storage"],
)
async def test_a_call_counts_the_units_that_it_brings(
    call: Callable[[Caller], Awaitable[object]], metric: str, units: int
) -> None:
    client = httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(Gateway([httpx.Response(202)])))
    caller = Caller(client, Tally())
    await call(caller)
    assert caller.tally.counts() == [
        {"tenant_id": "tnt_a", "metric": metric, "offered": units, "admitted": units, "denied": 0}
    ]


async def test_a_refused_storage_sample_comes_back_as_it_was_told_and_counts_once() -> None:
    gateway = Gateway([httpx.Response(429, headers={"retry-after": "0"}), httpx.Response(202)])
    client = httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(gateway))
    caller = Caller(client, Tally())
    await caller.store(TENANT, {"resource": "documents", "bytes": 1}, 7)
    assert caller.tally.counts() == [
        {"tenant_id": "tnt_a", "metric": "storage_gb", "offered": 7, "admitted": 7, "denied": 0}
    ]
