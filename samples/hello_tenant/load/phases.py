"""The load, phase by phase: the first event, the steady stream of all tenants, and the storm of one."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from samples.hello_tenant.load import storage
from samples.hello_tenant.load.caller import Caller
from samples.hello_tenant.load.plan import Plan, TenantLoad

CALLS_S_PER_WORKER = 10  # one worker waits for one answer at a time; at 100 ms an answer it still keeps this pace
STORM_WORKERS = 40  # in flight together they outrun a limit of 50 a second with a burst of one second
STORM_WITHIN_S = 6.0  # in two seconds the limit is passed, or this machine does not pass it
STORM_BATCHES = 3  # two at once, and one after coming back
STORAGE_SPAN_US = 40 * 60 * 1_000_000
STORAGE_MARGIN_US = 2_000_000  # the last sample lies in the past for every clock on this machine

Timed = tuple[float, httpx.Response | None]
"""An answer (None: lost, or never given) and when it came, in monotonic seconds."""

Progress = Callable[[str, int, int], None]
"""Told (phase, done, total) whenever it changed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer of a tenant over its quota, and what happened when it came back as told."""

    tenant_id: str
    limit: str
    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    waited_s: float
    status_after: int | None


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

    async def storm(self, tenant: TenantLoad) -> list[Refusal]:
        """Drive one tenant over its limits and have it come back when told; return the refusals that were seen.

        Events a second are passed by two large batches at once, on any machine. Calls a second are passed by as many
        as the machine can carry, which may be less than the limit: then there is no refusal of that kind.
        """
        phase = f"{tenant.name} over its quota"
        self.progress(phase, 0, 1)
        refusals = [await self._over_events(tenant), await self._over_calls(tenant)]
        self.progress(phase, 1, 1)
        return [refusal for refusal in refusals if refusal is not None]

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

    async def _over_events(self, tenant: TenantLoad) -> Refusal | None:
        """Send two batches at once that the limit bears only one by one; send another when told to come back."""
        if not tenant.storm_batch_events:
            return None
        numbers = iter(range(STORM_BATCHES))

        async def batch() -> Timed:
            batch_id = f"{self.plan.seed}-{tenant.tenant_id}-storm-{next(numbers)}"
            return _timed(await self.caller.ingest(tenant, batch_id, tenant.storm_batch_events))

        answers = await asyncio.gather(*(batch() for _ in range(STORM_BATCHES - 1)))
        return await self._come_back(tenant, answers, batch)

    async def _over_calls(self, tenant: TenantLoad) -> Refusal | None:
        """Call as fast as possible until every worker is refused, or the budget or the time is over."""
        budget, until = iter(range(tenant.storm_calls)), time.monotonic() + STORM_WITHIN_S
        workers = (self._until_refused(tenant, budget, until) for _ in range(STORM_WORKERS))
        return await self._come_back(tenant, await asyncio.gather(*workers), lambda: self._call(tenant))

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

    async def _until_refused(self, tenant: TenantLoad, budget: Iterator[int], until: float) -> Timed:
        """Call while the budget, which all workers share, and the time last; return the last answer."""
        last: Timed = (0.0, None)
        for _ in budget:
            last = await self._call(tenant)
            if _is_refused(last) or time.monotonic() > until:
                break
        return last

    async def _call(self, tenant: TenantLoad) -> Timed:
        return _timed(await self.caller.graphql(tenant, self._next()))

    async def _come_back(
        self, tenant: TenantLoad, answers: Sequence[Timed], again: Callable[[], Awaitable[Timed]]
    ) -> Refusal | None:
        """Do it `again` when the last refusal among the answers allows it; None where none is one."""
        at, response = max(filter(_is_refused, answers), key=lambda answer: answer[0], default=(0.0, None))
        if response is None:
            return None
        body = response.json()
        await asyncio.sleep(max(0.0, at + float(body["retryAfter"]) - time.monotonic()))
        waited_s = time.monotonic() - at
        _, after = await again()
        return Refusal(
            tenant_id=tenant.tenant_id,
            limit=body["limit"],
            status=response.status_code,
            headers=dict(response.headers),
            body=body,
            waited_s=waited_s,
            status_after=None if after is None else after.status_code,
        )


def _timed(response: httpx.Response | None) -> Timed:
    return time.monotonic(), response


def _is_refused(answer: Timed) -> bool:
    return answer[1] is not None and answer[1].status_code == httpx.codes.TOO_MANY_REQUESTS


async def _paced(times: int, every_s: float, act: Callable[[], Awaitable[None]]) -> None:
    """Do `act` so many times, one after the other, at most once every `every_s`; what is late is not caught up."""
    for _ in range(times):
        started = time.monotonic()
        await act()
        await asyncio.sleep(max(0.0, started + every_s - time.monotonic()))
