"""Both buses under one name, and what a test may do to a broker."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Protocol

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.memory import MemoryBus
from libs.bus.outbox import say
from libs.bus.ports import Assigned, Bus, Fetched, Subscriber
from libs.bus.records import Record, TopicPartition
from libs.runtime.clock import Clock
from libs.schemas.events import ChangeRecorded, TenantChanged
from libs.schemas.topics import TopicSpec, registry
from libs.store.pool import Pool, transaction
from tests.support.conditions import eventually
from tests.support.stores import as_owner, pools_on

EFFECTS = """
CREATE TABLE IF NOT EXISTS effect (id text NOT NULL, n bigint GENERATED ALWAYS AS IDENTITY, trace text);
GRANT ALL ON effect TO :"worker"
"""
_numbers = itertools.count(1)


def fresh_name(word: str) -> str:
    """A name that no other test of this session has."""
    return f"{word}-{os.getpid()}-{next(_numbers)}"


def spec(name: str, *, partitions: int = 4, **more: object) -> TopicSpec:
    """A topic of a test."""
    return TopicSpec.model_validate(
        {"name": name, "owner": "test", "purpose": "a test", "key": "any", "partitions": partitions, "retention_h": 192}
        | more
    )


class Broker(Protocol):
    """A bus, and the hand of its operator."""

    @property
    def bus(self) -> Bus: ...

    async def delete_topic(self, topic: str) -> None: ...

    async def drop_before(self, source: TopicPartition, offset: int) -> None: ...

    async def add_partitions(self, topic: str, count: int) -> None: ...


@dataclass
class MemoryBroker:
    """The broker in memory."""

    bus: MemoryBus

    async def delete_topic(self, topic: str) -> None:
        self.bus.delete_topic(topic)

    async def drop_before(self, source: TopicPartition, offset: int) -> None:
        self.bus.drop_before(source, offset)

    async def add_partitions(self, topic: str, count: int) -> None:
        self.bus.add_partitions(topic, count)


@dataclass
class KafkaBroker:
    """The real broker."""

    bus: KafkaBus
    access: KafkaAccess

    async def delete_topic(self, topic: str) -> None:
        async with self._admin() as admin:
            await admin.delete_topics([topic])

        async def is_gone() -> bool:
            return topic not in await self.bus.topic_ids([topic])

        await eventually(is_gone, f"{topic} is deleted")

    async def drop_before(self, source: TopicPartition, offset: int) -> None:
        async with self._admin() as admin:
            where = {KafkaPartition(source.topic, source.partition): RecordsToDelete(before_offset=offset)}
            await admin.delete_records(where)

    async def add_partitions(self, topic: str, count: int) -> None:
        async with self._admin() as admin:
            await admin.create_partitions({topic: NewPartitions(count)})

            async def has_grown() -> bool:  # not by the bus: it believes what it saw first for a minute
                [found] = await admin.describe_topics([topic])
                return len(found["partitions"]) == count

            await eventually(has_grown, f"{topic} has {count} partitions")

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(**self.access.client_settings())
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


async def furnished_memory(clock: Clock | None = None) -> MemoryBus:
    """A broker in memory with the topics of the registry, as an operator makes them before services start."""
    bus = MemoryBus(clock)
    await bus.ensure_topics(list(registry().values()))
    return bus


@asynccontextmanager
async def memory_broker() -> AsyncIterator[MemoryBroker]:
    """A broker in memory."""
    bus = MemoryBus(random=Random(7))  # noqa: S311 - ids, no secrets
    await bus.start()
    yield MemoryBroker(bus)
    await bus.stop()


@asynccontextmanager
async def kafka_broker(access: KafkaAccess) -> AsyncIterator[KafkaBroker]:
    """A connection to the real broker."""
    bus = KafkaBus(access, client_id=fresh_name("test"))
    await bus.start()
    try:
        yield KafkaBroker(bus, access)
    finally:
        await bus.stop()


@asynccontextmanager
async def bus_store(dsn: str, *, max_size: int = 8) -> AsyncIterator[Pool]:
    """The worker's pool on a database of bus and store, and of a table of effects: `effect(id, n, trace)`."""
    async with pools_on(dsn, worker_size=max_size) as pools:
        await as_owner(dsn, EFFECTS)
        yield pools.worker


async def recorded(pool: Pool, service: str) -> list[ChangeRecorded]:
    """The changes that lie in the store's outbox as said by `service`, oldest first."""
    rows = await pool.fetch("SELECT value FROM outbox WHERE topic = $1 ORDER BY id", f"{service}-audit")
    return [ChangeRecorded.model_validate_json(row["value"]) for row in rows]


def tenant_changed(name: str) -> TenantChanged:
    """An event that carries one word."""
    return TenantChanged.model_validate(
        {
            "tenant_id": "tnt_" + "a" * 20,
            "name": name,
            "region": "local-1",
            "plan_id": "starter",
            "changed_at": datetime(2026, 11, 24, tzinfo=UTC),
        }
    )


async def say_names(pool: Pool, *names: str, key: str) -> None:
    """Say one event per name, each in a transaction of its own, all under one key."""
    for name in names:
        async with transaction(pool) as tx:
            await say(tx, "tenant-changes", tenant_changed(name), key=key)


async def effects(pool: Pool) -> list[str]:
    """The ids of all effects, in the order in which they were made."""
    return [row["id"] for row in await pool.fetch("SELECT id FROM effect ORDER BY n")]


async def assignment(subscriber: Subscriber) -> frozenset[TopicPartition]:
    """Poll until the next assignment, and return it."""
    async with asyncio.timeout(30):
        while not isinstance(got := await subscriber.poll(), Assigned):
            pass
    return got.partitions


async def fetch(subscriber: Subscriber, count: int) -> tuple[list[Record], Fetched]:
    """Poll until `count` records have come; return them and the last fetch."""
    records: list[Record] = []
    async with asyncio.timeout(30):
        while True:
            got = await subscriber.poll()
            assert isinstance(got, Fetched)
            records += got.records
            if len(records) >= count:
                return records, got
