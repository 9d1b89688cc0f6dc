"""The limiter on a real Valkey: exact under concurrency, short of patience with a dead store, back when it is back."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack

import pytest
from redis import Redis

from libs.runtime.clock import SystemClock
from libs.schemas.values import TenantId
from services.quota.domain.gcra import Rate
from services.quota.errors import QuotaUnavailable
from services.quota.store.limiter import CONNECTIONS, Limiter, connect_limiter
from tests.integration.quota.conftest import OpenLimiter, OwnValkey
from tests.support.conditions import eventually

FIFTY = Rate.with_one_second_of_burst(50)
CLIENTS = 8
CLOCK = SystemClock()


def store_us(client: Redis) -> int:
    seconds, rest = client.time()
    return int(seconds) * 1_000_000 + int(rest)


async def admitted_by(limiter: Limiter, tenant_id: TenantId, rate: Rate, until_s: float) -> int:
    count = 0
    while time.monotonic() < until_s:
        count += (await limiter.spend(tenant_id, "qps", rate, 1)).allowed
    return count


async def outcome(limiter: Limiter, tenant_id: TenantId) -> str:
    try:
        return "allowed" if (await limiter.spend(tenant_id, "qps", FIFTY, 1)).allowed else "refused"
    except QuotaUnavailable:
        return "unavailable"


async def until(limiter: Limiter, tenant_id: TenantId, wanted: str) -> None:
    async def is_so() -> bool:
        return await outcome(limiter, tenant_id) == wanted

    await eventually(is_so, f"a check is {wanted}")


async def test_eight_clients_together_never_exceed_the_burst_and_the_rate(
    open_limiter: OpenLimiter, valkey_client: Redis, tenant_id: TenantId
) -> None:
    rate = Rate.with_one_second_of_burst(200)
    async with AsyncExitStack() as opened:
        limiters = [open_limiter() for _ in range(CLIENTS)]
        for limiter in limiters:
            opened.push_async_callback(limiter.close)
        begun_us, until_s = store_us(valkey_client), time.monotonic() + 1.5

        counts = await asyncio.gather(*(admitted_by(one, tenant_id, rate, until_s) for one in limiters))

    elapsed_us = store_us(valkey_client) - begun_us
    assert min(counts) > 0
    assert sum(counts) <= rate.burst + rate.per_s * elapsed_us // 1_000_000
    assert sum(counts) > rate.burst


async def test_a_tenant_is_served_again_when_the_wait_it_was_told_is_over(
    open_limiter: OpenLimiter, valkey_client: Redis, tenant_id: TenantId
) -> None:
    limiter, slow = open_limiter(), Rate(per_s=5, burst=1)
    await limiter.spend(tenant_id, "qps", slow, 1)
    refused = await limiter.spend(tenant_id, "qps", slow, 1)
    due_us = store_us(valkey_client) + refused.retry_after_us

    async def is_due() -> bool:
        return store_us(valkey_client) >= due_us

    await eventually(is_due, "the wait is over")
    again = await limiter.spend(tenant_id, "qps", slow, 1)

    assert not refused.allowed
    assert again.allowed
    await limiter.close()


async def test_an_idle_tenant_leaves_no_key_behind(
    open_limiter: OpenLimiter, valkey_client: Redis, tenant_id: TenantId
) -> None:
    limiter = open_limiter()

    await limiter.spend(tenant_id, "qps", FIFTY, 1)
    lifetime_ms = valkey_client.pttl(f"{{{tenant_id}}}:qps")

    assert isinstance(lifetime_ms, int)
    assert 0 < lifetime_ms <= 21  # one of fifty a second drains in 20 ms
    await limiter.close()


async def test_a_cancelled_check_leaves_no_answer_for_the_next_one(
    open_limiter: OpenLimiter, tenant_id: TenantId
) -> None:
    limiter = open_limiter()
    await limiter.spend(tenant_id, "qps", FIFTY, 1)

    cancelled = [asyncio.create_task(limiter.spend(tenant_id, "qps", FIFTY, 1)) for _ in range(3 * CONNECTIONS)]
    await asyncio.sleep(0)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
    verdict = await limiter.spend(tenant_id, "events_s", Rate.with_one_second_of_burst(1000), 1)

    assert verdict.remaining == 999
    await limiter.close()


async def test_a_pause_of_this_process_is_not_taken_for_a_silent_store(
    valkey_url: str, valkey_password: str, tenant_id: TenantId
) -> None:
    limiter = connect_limiter(valkey_url, valkey_password, CLOCK, patience_s=0.5)
    await until(limiter, tenant_id, "allowed")
    await asyncio.gather(*(outcome(limiter, tenant_id) for _ in range(5)))  # as many connections as are asked below
    asking = [asyncio.create_task(outcome(limiter, tenant_id)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    time.sleep(1.0)  # noqa: ASYNC251 - the pause itself: nothing of this process runs, the store does

    assert set(await asyncio.gather(*asking)) == {"allowed"}
    await limiter.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_store_that_is_gone_or_frozen_is_unavailable_within_the_patience(
    own_valkey: OwnValkey, tenant_id: TenantId, how: signal.Signals
) -> None:
    limiter = connect_limiter(own_valkey.url, own_valkey.PASSWORD, CLOCK, patience_s=0.5)
    await until(limiter, tenant_id, "allowed")

    own_valkey.signal(how)
    begun_s = time.monotonic()
    answers = [await outcome(limiter, tenant_id) for _ in range(100)]
    took_s = time.monotonic() - begun_s

    assert set(answers[1:]) == {"unavailable"}
    assert took_s < 25  # a few waits of half a second, then the breaker answers by itself; without it they were fifty
    await limiter.close()


async def test_a_store_that_is_back_with_an_empty_memory_is_used_again(
    own_valkey: OwnValkey, tenant_id: TenantId
) -> None:
    limiter = connect_limiter(own_valkey.url, own_valkey.PASSWORD, CLOCK, patience_s=0.5)
    await until(limiter, tenant_id, "allowed")
    own_valkey.kill()
    await until(limiter, tenant_id, "unavailable")

    own_valkey.start()

    await until(limiter, tenant_id, "allowed")
    await limiter.close()
