"""Spans of a stock SDK, through the real Collector, by OTLP over gRPC to metering: each counts once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from libs.access.keys import ApiKey
from libs.runtime.clock import SystemClock
from services.metering.handlers.edge import MAX_REQUESTS
from services.metering.settings import MeteringSettings
from tests.support.bus import furnished_memory
from tests.support.conditions import eventually
from tests.support.metering_world import World, metering_world
from tests.support.otelcol import Collector, collecting, send_calls, told

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1900)]
CALLS = "gql_calls"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(module_database: Callable[..., str]) -> AsyncIterator[World]:
    settings, clock = MeteringSettings(postgres_url=module_database("metering"), otlp_grpc_port=0), SystemClock()
    async with metering_world(settings, await furnished_memory(clock), clock) as served:
        yield served


def environment_of(world: World, key: ApiKey, folder: Path) -> dict[str, str]:
    secret = folder / "key"
    secret.write_text(key.text, encoding="utf-8")
    address = f"127.0.0.1:{world.app.state.otlp_grpc_port}"
    return told(folder / "state", metering_otlp=address, otelcol_key_file=secret)


async def sent(collector: Collector, tenant: str, count: int) -> None:
    await asyncio.to_thread(send_calls, collector, tenant, count)


async def test_an_edges_collector_brings_every_span_of_its_tenants_once(
    otelcol: Path, world: World, tmp_path: Path
) -> None:
    mine, yours, stranger = [await world.new_tenant() for _ in range(3)]
    edge = await world.new_key("edge", act_for=(mine, yours))
    with collecting(otelcol, "to-metering", environment_of(world, edge, tmp_path), tmp_path / "log") as collector:
        for tenant, count in ((mine, 20), (stranger, 7), (yours, 30)):
            await sent(collector, tenant, count)
        await world.until_total(mine, 20, CALLS)
        await world.until_total(yours, 30, CALLS)
    await world.until_all_is_counted()
    assert [await world.total(tenant, CALLS) for tenant in (mine, yours, stranger)] == [20, 30, 0]


async def test_a_collector_that_is_killed_while_metering_is_full_loses_no_span(
    otelcol: Path, world: World, tmp_path: Path
) -> None:
    tenant = await world.new_tenant()
    gate, seen = world.app.state.gate, tmp_path / "log"
    gate._max_requests = 0
    environment = environment_of(world, world.keys[tenant], tmp_path)
    with collecting(otelcol, "to-metering", environment, seen) as collector:
        await sent(collector, tenant, 25)

        async def refused() -> bool:
            return "intake_full" in collector.said()

        await eventually(refused, "metering refused the spans", within_s=40)
        collector.end(signal.SIGKILL)
        gate._max_requests = MAX_REQUESTS
        collector.start()
        await sent(collector, tenant, 5)
        await world.until_total(tenant, 30, CALLS)
    await world.until_all_is_counted()
    assert await world.total(tenant, CALLS) == 30
