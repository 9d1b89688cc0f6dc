"""The load, phase by phase: the first event, the steady stream of all tenants, and the storm of one."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from samples.hello_tenant.load import storage
from samples.hello_tenant.load.caller import Caller
from samples.hello_tenant.load.plan import Plan, TenantLoad

CALLS_S_PER_WORKER = 10  # one worker waits for one answer at a time; at 100 ms an answer it still keeps this pace
STORM_WORKERS = 40  # in flight together they outrun a limit of 50 a second with a burst of one second
STORAGE_SPAN_US = 40 * 60 * 1_000_000
STORAGE_MARGIN_US = 2_000_000  # the last sample lies in the past for every clock on this machine

Progress = Callable[[str, int, int], None]
"""Told (phase, done, total) whenever it changed."""


@dataclass(slots=True)
class Refusal:
    """The answer of a tenant over its quota, and what happened when it came back as told."""

    tenant_id: str
    status: int
    headers: dict[str, str]
    body: Any
    retry_after_s: float
    waited_s: float = 0.0
    status_after: int | None = None


@dataclass(slots=True)
class Phases:
    """Runs the phases of `plan`. Call numbers run on over the phases, so that every call has its own."""

    plan: Plan
    caller: Caller
    progress: Progress
    _number: int = field(default=0)

    async def first_event(self) -> float:
        """Make one call and have it sent on; return the Unix time at which it was accepted."""
        self.progress("first event", 0, 1)
        await self.caller.graphql(self.plan.tenants[0], self._next())
        counts = await self.caller.flush()
        accepted_at = time.time()
        if not counts["spans_exported"]:
            raise RuntimeError(f"the gateway sent nothing on: {counts}")
        self.progress("first event", 1, 1)
        return accepted_at

    async def steady(self) -> None:
        """Let all tenants call at their own pace, side by side."""
        total = sum(tenant.calls for tenant in self.plan.tenants)
        done = 0

        def one_more() -> None:
            nonlocal done
            done += 1
            self.progress("steady calls", done, total)

        async with asyncio.TaskGroup() as group:
            for tenant in self.plan.tenants:
                group.create_task(self._calls(tenant, one_more))
                group.create_task(self._batches(tenant))
                group.create_task(self._storage(tenant))

    async def storm(self, tenant: TenantLoad) -> Refusal | None:
        """Call as fast as possible until every worker is refused, then come back when told; None if never refused."""
        self.progress(f"{tenant.name} over its quota", 0, 1)
        budget = iter(range(tenant.storm_calls))
        refused = [
            one
            for one in await asyncio.gather(*(self._until_refused(tenant, budget) for _ in range(STORM_WORKERS)))
            if one is not None
        ]
        await self._batches_at_once(tenant)
        if not refused:
            return None
        at, response = max(refused, key=lambda one: one[0])
        refusal = await self._come_back(tenant, at, response)
        self.progress(f"{tenant.name} over its quota", 1, 1)
        return refusal

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _calls(self, tenant: TenantLoad, one_more: Callable[[], None]) -> None:
        workers = max(1, math.ceil(tenant.calls_s / CALLS_S_PER_WORKER))
        shares = [tenant.calls // workers + (n < tenant.calls % workers) for n in range(workers)]

        async def call() -> None:
            await self.caller.graphql(tenant, self._next())
            one_more()

        await asyncio.gather(*(_paced(share, workers / tenant.calls_s, call) for share in shares))

    async def _batches(self, tenant: TenantLoad) -> None:
        numbers = iter(range(tenant.batches))

        async def send() -> None:
            batch_id = f"{self.plan.seed}-{tenant.tenant_id}-{next(numbers)}"
            await self.caller.ingest(tenant, batch_id, tenant.events_per_batch)

        await _paced(tenant.batches, 1 / tenant.batches_s, send)

    async def _batches_at_once(self, tenant: TenantLoad) -> None:
        if tenant.storm_batch_events:
            ids = (f"{self.plan.seed}-{tenant.tenant_id}-storm-{n}" for n in range(2))
            await asyncio.gather(*(self.caller.ingest(tenant, one, tenant.storm_batch_events) for one in ids))

    async def _storage(self, tenant: TenantLoad) -> None:
        if not tenant.storage_bytes:
            return
        chance = random.Random(f"{self.plan.seed}{tenant.tenant_id}")  # noqa: S311 - a load profile, no secret
        to_us = time.time_ns() // 1000 - STORAGE_MARGIN_US
        from_us = max(self.plan.not_before_us, to_us - STORAGE_SPAN_US)
        for resource in storage.RESOURCES:
            samples = storage.samples_of(resource, tenant.storage_bytes, from_us, to_us, chance)
            for sample, units in zip(samples, storage.units_of(samples), strict=True):
                body = {"resource": resource, "bytes": sample.stored_bytes, "time": sample.time}
                await self.caller.store(tenant, body, units)

    async def _until_refused(self, tenant: TenantLoad, budget: Iterator[int]) -> tuple[float, httpx.Response] | None:
        """Call while the budget, which all workers share, lasts; return the first refusal and when it came."""
        for _ in budget:
            response = await self.caller.graphql(tenant, self._next())
            if response is not None and response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                return time.monotonic(), response
        return None

    async def _come_back(self, tenant: TenantLoad, at: float, response: httpx.Response) -> Refusal:
        body = response.json()
        refusal = Refusal(
            tenant.tenant_id, response.status_code, dict(response.headers), body, float(body["retryAfter"])
        )
        await asyncio.sleep(max(0.0, at + refusal.retry_after_s - time.monotonic()))
        refusal.waited_s = time.monotonic() - at
        after = await self.caller.graphql(tenant, self._next())
        refusal.status_after = after.status_code if after is not None else None
        return refusal


async def _paced(times: int, every_s: float, act: Callable[[], Awaitable[None]]) -> None:
    """Do `act` so many times, one after the other, at most once every `every_s`; what is late is not caught up."""
    for _ in range(times):
        started = time.monotonic()
        await act()
        await asyncio.sleep(max(0.0, started + every_s - time.monotonic()))
