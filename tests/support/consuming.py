"""A consumer and a relay at work in a test, and the effects they leave in a store."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from libs.bus.consumer import BatchConsumer, EventConsumer
from libs.bus.envelope import Received
from libs.bus.ports import Bus
from libs.bus.records import Record
from libs.bus.relay import Relay
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription
from libs.runtime.errors import Rejected
from libs.runtime.tracing import current_traceparent
from libs.schemas.events import TenantChanged
from libs.store.pool import Pool, Tx
from tests.support.bus import effects, fresh_name
from tests.support.conditions import eventually

TENANTS = "tenant-changes"

_log = logging.getLogger(__name__)


@asynccontextmanager
async def at_work(*work: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run the coroutines while the block runs. One that ends by itself shows its error when its task is awaited."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            if task.done() and task.exception() is not None:
                _log.error("ended by itself", exc_info=task.exception())
            task.cancel()
        await asyncio.wait(tasks, timeout=15)


async def dies(task: asyncio.Task[None], error: type[BaseException]) -> str:
    """Wait until the task has ended with `error`, and return its text."""
    await asyncio.wait([task], timeout=30)
    assert task.done(), "it is still running"
    found = task.exception()
    assert isinstance(found, error), found
    return str(found)


@dataclass
class Tenants:
    """Takes TenantChanged of one key: an effect per name. `refuse`, `fail_once` and `nul` name what goes wrong."""

    key: str = field(default_factory=lambda: fresh_name("tenant"))
    purpose: str = field(default_factory=lambda: fresh_name("tenants"))
    refuse: tuple[str, ...] = ()
    nul: tuple[str, ...] = ()
    fail_once: dict[str, Exception] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"quota.{self.purpose}"

    def subscription(self, instance: str = "0", max_records: int = 500) -> Subscription:
        return Subscription("quota", self.purpose, (TENANTS,), instance, max_records)

    def consumer(self, bus: Bus, pool: Pool, instance: str = "0") -> EventConsumer:
        routes = Routes()
        routes.on(TenantChanged, self.on_tenant_changed)
        return EventConsumer(bus, pool, self.subscription(instance), routes)

    async def on_tenant_changed(self, tx: Tx, received: Received[TenantChanged]) -> None:
        if received.meta.subject != self.key:
            return  # another test's, on the same topic of the real broker
        name = received.data.name
        self.seen.append(name)
        if name in self.refuse:
            raise Rejected(f"{name} is refused")
        await tx.execute(
            "INSERT INTO effect (id, trace) VALUES ($1, $2)",
            name + ("\x00" if name in self.nul else ""),
            current_traceparent(),
        )
        if name in self.fail_once:
            raise self.fail_once.pop(name)


@dataclass
class Values:
    """Takes raw records of one key by the batch: an effect per value, in one statement."""

    key: bytes = field(default_factory=lambda: fresh_name("key").encode())
    purpose: str = field(default_factory=lambda: fresh_name("values"))
    batches: list[int] = field(default_factory=list)
    discarded: int = 0

    def consumer(self, bus: Bus, pool: Pool, topic: str, max_records: int = 500) -> BatchConsumer:
        subscription = Subscription("quota", self.purpose, (topic,), "0", max_records)
        return BatchConsumer(bus, pool, subscription, self.handle, discard=self.discard)

    def discard(self) -> None:
        self.discarded += 1

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        mine = [record.value or b"" for record in records if record.key == self.key]
        self.batches.append(len(mine))
        await tx.execute("INSERT INTO effect (id) SELECT * FROM unnest($1::text[])", [one.decode() for one in mine])


def relay_of(pool: Pool, bus: Bus, instance: str = "0") -> Relay:
    """The relay of a service that owns tenant-changes."""
    return Relay(pool, bus, service="identity", instance=instance)


async def effects_are(pool: Pool, *expected: str) -> None:
    """Wait until exactly these effects, in this order, have been made."""

    async def reached() -> bool:
        return len(await effects(pool)) >= len(expected)

    await eventually(reached, f"{len(expected)} effects", within_s=40)
    found = await effects(pool)
    assert found == list(expected), difference(found, expected)


def difference(found: Sequence[str], expected: Sequence[str]) -> str:
    """Say how effects differ: what is missing, what was made too often, and the first that is out of its place."""
    missing, extra = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    pairs = zip_longest(found, expected)
    at, (there, due) = next((at, pair) for at, pair in enumerate(pairs) if pair[0] != pair[1])
    return (
        f"{len(found)} effects for {len(expected)}; missing {sorted(missing.elements())}; "
        f"too many {sorted(extra.elements())}; at {at} is {there}, not {due}: {list(found[max(0, at - 3) : at + 12])}"
    )


async def outbox_is_empty(pool: Pool) -> None:
    """Wait until all that was said is published."""

    async def reached() -> bool:
        return not await pool.fetchval("SELECT count(*) FROM outbox")

    await eventually(reached, "the outbox is empty", within_s=40)


async def dead_letters(
    bus: Bus, topic: str, consumer: str, count: int, *, key: str | None = None
) -> list[dict[str, bytes]]:
    """Wait for `count` dead letters of `consumer` (of records under `key`) and return their headers, `value` added."""
    reader = bus.reader(topic + "-dlq")
    await reader.start()
    found: list[dict[str, bytes]] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            for record in (await reader.poll()).records:
                headers = {name: content or b"" for name, content in (*record.headers, ("value", record.value))}
                if headers["maestro_consumer"] == consumer.encode() and key in (None, (record.key or b"").decode()):
                    found.append(headers)
    await reader.stop()
    return found
