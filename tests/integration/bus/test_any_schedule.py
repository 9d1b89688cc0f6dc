"""Whoever comes first: members, relays and a broker that come, go and fail in any order leave one effect per event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from random import Random

import pytest

from libs.bus.memory import MemoryBus
from libs.bus.subscription import group_of
from libs.schemas.topics import registry
from libs.store.pool import Pool
from tests.support.bus import bus_store, effects, memory_broker, say_names
from tests.support.conditions import eventually
from tests.support.consuming import Tenants, at_work, difference, relay_of
from tests.support.schedules import run_shuffled

NAMES = [f"n{number}" for number in range(80)]
INSTANCES = ("0", "1", "2")
UPSETS = 6


class Group:
    """Members of one consumer group that are started, stopped without a word, and started again."""

    def __init__(self, bus: MemoryBus, pool: Pool, random: Random) -> None:
        self.bus, self.pool, self.random, self.tenants = bus, pool, random, Tenants()
        self.running: dict[str, AsyncExitStack] = {}

    async def start(self, instance: str) -> None:
        """Start a member, in the place of the one that runs under its name."""
        await self.stop(instance)
        stack = self.running[instance] = AsyncExitStack()
        await stack.enter_async_context(at_work(self.tenants.consumer(self.bus, self.pool, instance).run()))

    async def stop(self, instance: str) -> None:
        """Cancel a member, wherever it is."""
        if stack := self.running.pop(instance, None):
            await stack.aclose()

    async def upset(self) -> None:
        """Do one thing that happens to groups."""
        instance = self.random.choice(INSTANCES)
        what = self.random.choice(["start", "stop", "expire", "broker"])
        if what == "start":
            await self.start(instance)
        elif what == "broker":
            self.bus.down = True
            await asyncio.sleep(self.random.uniform(0, 0.05))
            self.bus.down = False
        else:
            await self.stop(instance)
            if what == "expire" and instance in self.bus.members(group_of(self.tenants.name)):
                self.bus.expire(group_of(self.tenants.name), instance)


async def _live_through(seed: int, dsn: str) -> list[str]:
    random = Random(seed)  # noqa: S311 - what happens, no secret
    async with memory_broker() as broker, bus_store(dsn) as pool:
        await pool.execute("TRUNCATE effect")
        await broker.bus.ensure_topics(list(registry().values()))
        group = Group(broker.bus, pool, random)
        async with at_work(relay_of(pool, broker.bus).run(), relay_of(pool, broker.bus, "1").run()):
            saying = asyncio.create_task(say_names(pool, *NAMES, key=group.tenants.key))
            for _ in range(UPSETS):
                await group.upset()
                await asyncio.sleep(random.uniform(0, 0.1))
            for instance in INSTANCES:
                await group.start(instance)
            await saying
            await _all_made(pool)
            for instance in INSTANCES:
                await group.stop(instance)
        return await effects(pool)


async def _all_made(pool: Pool) -> None:
    async def made() -> bool:
        return len(await effects(pool)) >= len(NAMES)

    await eventually(made, f"{len(NAMES)} effects", within_s=60)


@pytest.fixture
def dsn(fresh_database: Callable[..., str]) -> str:
    return fresh_database("schedule")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_event_has_exactly_one_effect_in_order_on_any_schedule(seed: int, dsn: str) -> None:
    found = run_shuffled(_live_through(seed, dsn), seed)

    assert found == NAMES, difference(found, NAMES)
