"""The quota client: every answer becomes a value or an error that says whose affair it is."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from maestro_sdk import Admitted, CallerRejected, QuotaClient, QuotaUnavailable, Refused
from tests.support.sdk import TENANT, Service, admitted, problem, refused, unreachable


def client_of(service: Service) -> QuotaClient:
    return QuotaClient("http://quota", "edge-key", transport=service.transport)


async def test_a_yes_names_the_tenant_the_plan_and_the_fields() -> None:
    answer = await client_of(Service(admitted())).check("qps", token="caller-key")

    assert answer == Admitted(
        tenant=TENANT,
        limit="qps",
        remaining=12,
        reset_s=1,
        plan_id="starter",
        plan_version=1,
        fields={"ratelimit": '"qps";r=12;t=1', "ratelimit-policy": '"qps";q=50;w=1'},
    )


async def test_a_no_keeps_the_document_and_its_fields_as_they_came() -> None:
    told = refused()

    answer = await client_of(Service(told)).check("qps", token="caller-key")

    assert isinstance(answer, Refused)
    assert answer.body == told.content
    assert answer.retry_after_s == 1
    assert answer.fields["retry-after"] == "1"


async def test_the_question_carries_the_edges_key_and_only_what_was_said() -> None:
    service = Service(admitted())

    await client_of(service).check("events_s", cost=20, token="caller-key")

    assert service.requests[0].url.path == "/v1/check"
    assert service.requests[0].headers["authorization"] == "Bearer edge-key"
    assert service.asked == [{"limit": "events_s", "cost": 20, "token": "caller-key"}]


@pytest.mark.parametrize(
    ("status", "code"), [(401, "caller_unauthenticated"), (403, "wrong_tenant"), (422, "cost_exceeds_burst")]
)
async def test_an_answer_about_the_caller_is_handed_on(status: int, code: str) -> None:
    with pytest.raises(CallerRejected) as caught:
        await client_of(Service(problem(status, code))).check("qps", token="caller-key")

    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    "answer",
    [
        problem(401, "unauthenticated"),
        problem(403, "forbidden"),
        problem(503, "quota_unavailable"),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json={"allowed": True}),
        httpx.Response(429, content=b"busy"),
        httpx.Response(302, headers={"Location": "http://elsewhere/"}),
        unreachable(),
        httpx.ReadTimeout("too slow"),
    ],
    ids=["own key", "own scope", "store down", "no json", "no shape", "another's 429", "redirect", "nobody", "slow"],
)
async def test_whatever_else_comes_is_no_answer(answer: httpx.Response | Exception) -> None:
    with pytest.raises(QuotaUnavailable):
        await client_of(Service(answer)).check("qps", token="caller-key")


async def test_a_service_that_does_not_answer_is_left_at_the_deadline() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    client = QuotaClient("http://quota", "edge-key", timeout_s=0.01, transport=httpx.MockTransport(never))

    with pytest.raises(QuotaUnavailable, match="TimeoutError"):
        await client.check("qps", token="caller-key")


async def test_a_caller_that_goes_away_does_not_cut_the_request_off() -> None:
    arrived, may_answer, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        arrived.set()
        await may_answer.wait()
        answered.set()
        return admitted()

    client = QuotaClient("http://quota", "edge-key", timeout_s=5, transport=httpx.MockTransport(slow))
    caller = asyncio.create_task(client.check("qps", token="caller-key"))
    await arrived.wait()

    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    may_answer.set()
    await client.aclose()

    assert caller.cancelled()
    assert answered.is_set()
