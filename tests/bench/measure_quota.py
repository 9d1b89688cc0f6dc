"""How long a check takes: the script alone, and POST /v1/check over HTTP to a process of its own.

    python -m pytest tests/bench/measure_quota.py -q -s

Not part of the tests: it asserts nothing about time. Prints p50, p99 and the slowest, in microseconds.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from redis import Redis

from libs.bus.kafka import KafkaAccess, KafkaBus, access_of
from libs.runtime.clock import SystemClock
from services.quota.app import create
from services.quota.domain.gcra import Rate
from services.quota.settings import QuotaSettings
from services.quota.store.limiter import SCRIPT, connect_limiter
from tests.support.conditions import eventually
from tests.support.kafka import kafka_environment
from tests.support.quota_service import Quota, fresh_tenant_id, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

__all__ = ["settings"]

ROUNDS = 5
CALLS = 400
RATE = Rate.with_one_second_of_burst(5_000)


def cpu_s(pid: int) -> float:
    """Return the processor time, user and system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(what: str, took_us: list[float]) -> None:
    ordered = sorted(took_us)
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    sys.stdout.write(f"\n{what:<66} n={len(ordered):>6}  p50 {p50:7.0f}  p99 {p99:8.0f}  max {ordered[-1]:8.0f} us")


async def timed(call: Callable[[], Awaitable[object]], count: int) -> list[float]:
    took: list[float] = []
    for _ in range(count):
        begun = time.perf_counter()
        await call()
        took.append((time.perf_counter() - begun) * 1e6)
    return took


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service_pid(settings: QuotaSettings, port: int) -> AsyncIterator[int]:
    """The service as a process of its own, with the settings that it has by default."""
    told = {
        "MAESTRO_PORT": str(port),
        "MAESTRO_POSTGRES_URL": settings.postgres_url,
        **kafka_environment(access_of(settings)),
        "MAESTRO_REDIS_URL": settings.redis_url,
        "MAESTRO_REDIS_PASSWORD_FILE": str(settings.redis_password_file),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.quota", env=os.environ | told, stderr=asyncio.subprocess.DEVNULL
    )
    yield process.pid
    process.terminate()
    await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quota(settings: QuotaSettings, kafka: KafkaAccess, service_pid: int, port: int) -> AsyncIterator[Quota]:
    """A client of the service."""
    bus = KafkaBus(kafka, client_id=f"bench-{service_pid}")
    await bus.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        running = Quota(create(settings), str(client.base_url), client, bus)

        async def is_ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(is_ready, "quota is ready", within_s=60, every_s=0.1)
        running.operator = await running.new_key("operator")
        yield running
    await bus.stop()


async def test_the_script_alone(valkey_url: str, valkey_password: str) -> None:
    client = Redis.from_url(valkey_url, password=valkey_password)
    script = client.register_script(SCRIPT)
    key = f"{{{fresh_tenant_id()}}}:qps"
    for _ in range(ROUNDS):
        took: list[float] = []
        for _ in range(CALLS):
            begun = time.perf_counter()
            script(keys=[key], args=[RATE.per_s, RATE.burst, 1])
            took.append((time.perf_counter() - begun) * 1e6)
        show("script, blocking client, unix socket", took)
    client.close()


async def test_the_limiter(valkey_url: str, valkey_password: str) -> None:
    limiter = connect_limiter(valkey_url, valkey_password, SystemClock(), patience_s=1.0)
    tenant_id = fresh_tenant_id()
    for _ in range(ROUNDS):
        show(
            "limiter, asyncio client, unix socket", await timed(lambda: limiter.spend(tenant_id, "qps", RATE, 1), CALLS)
        )
    await limiter.close()


async def test_checks_over_http(quota: Quota, service_pid: int) -> None:
    tenant_id, key = await quota.new_tenant("enterprise")
    edge = await quota.new_key("edge", act_for=(tenant_id,))
    statuses: Counter[int] = Counter()

    async def ask() -> None:
        statuses[(await quota.check(edge, limit="events_s", token=key)).status_code] += 1

    for _ in range(ROUNDS):
        show("POST /v1/check, one caller, httpx", await timed(ask, CALLS))
    for callers in (4, 16):
        begun, begun_cpu_s = time.perf_counter(), cpu_s(service_pid)
        took = await asyncio.gather(*(timed(ask, CALLS // 4) for _ in range(callers)))
        per_s = callers * (CALLS // 4) / (time.perf_counter() - begun)
        cpu_us = (cpu_s(service_pid) - begun_cpu_s) * 1e6 / (callers * (CALLS // 4))
        what = f"POST /v1/check, {callers} callers, {per_s:.0f}/s, {cpu_us:.0f} us CPU each"
        show(what, [one for each in took for one in each])
    sys.stdout.write(f"\nanswers by status: {dict(statuses)}\n")


async def test_a_change_of_plan_until_checks_follow_it(quota: Quota) -> None:
    tenant_id, key = await quota.new_tenant("starter")
    took: list[float] = []
    for plan_id in ("enterprise", "pro") * 10:
        begun = time.perf_counter()
        await quota.put_plan(tenant_id, plan_id)

        async def follows(wanted: str = plan_id) -> bool:
            return bool((await quota.check(key, limit="storage_gb")).json()["plan"]["id"] == wanted)

        await eventually(follows, "checks follow the plan")
        took.append((time.perf_counter() - begun) * 1e6)
    show("PUT plan until the check names it", took)
