"""For every interleaving of repeated publishing, crashes, new owners and zombies: one effect per event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.bus.memory import MemoryBus
from libs.bus.offsets import NotOwner, Owned, Replaced
from libs.bus.ownership import Ownership
from libs.bus.records import Message, Record, TopicPartition
from libs.bus.subscription import Subscription
from libs.bus.writer import Writer
from libs.runtime.errors import Unavailable
from libs.schemas.topics import registry
from libs.store.pool import Pool, Tx
from tests.support.bus import bus_store, effects, fresh_name

TOPIC = "invoices"
PARTITIONS = 4
EVENTS = 6  # of each partition
FOREIGN = 3  # the partition whose records carry no stamp


@dataclass
class Process:
    """One process of the consumer: what it believes it owns, and where it reads."""

    ownership: Ownership
    writer: Writer
    owned: dict[TopicPartition, Owned] = field(default_factory=dict)


@dataclass
class World:
    """A broker, a store, and processes that come and go. Each step is something that can happen at any time."""

    bus: MemoryBus
    pool: Pool
    purpose: str = field(default_factory=lambda: fresh_name("any"))
    processes: list[Process] = field(default_factory=list)
    published: dict[int, int] = field(default_factory=dict)
    fail_in: int | None = None

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        await tx.execute(
            "INSERT INTO effect (id) SELECT * FROM unnest($1::text[])", [(one.value or b"").decode() for one in records]
        )
        if self.fail_in is not None and self.fail_in <= len(records):
            raise Unavailable("the connection is lost before the commit")

    async def publish(self, partition: int, repeat: int, news: int) -> None:
        """A relay publishes: the last `repeat` events once more, as after a crash, then `news` new ones, in order.

        What another producer publishes has no stamp and is not repeated: there the stored offset alone decides.
        """
        done = self.published.get(partition, 0)
        repeat = 0 if partition == FOREIGN else repeat
        end = min(EVENTS, done + news)
        await self.bus.publisher.publish([_event(partition, seq) for seq in range(max(0, done - repeat) + 1, end + 1)])
        self.published[partition] = end

    async def start_process(self, number: int) -> None:
        """A process starts and is given every partition; whoever had them does not know yet."""
        subscription = Subscription("quota", self.purpose, (TOPIC,), f"i{number}")
        process = Process(
            Ownership(self.bus, self.pool, subscription),
            Writer(self.pool, subscription, self.handle, lambda: None),
        )
        await process.ownership.begin()
        self.processes.append(process)
        await self.take(process)

    async def take(self, process: Process) -> None:
        partitions = frozenset(TopicPartition(TOPIC, number) for number in range(PARTITIONS))
        process.owned = await process.ownership.take(partitions)

    async def work(self, which: int, most: int, fail_in: int | None, crash: bool) -> None:
        """A process, perhaps one that lost its partitions, reads up to `most` records and writes them, or fails at it.

        With `crash` it dies right after its commit, before it has told its memory.
        """
        if not self.processes:
            return
        process = self.processes[which % len(self.processes)]
        believed = dict(process.owned)
        positions = {source: mine.next for source, mine in believed.items()}
        records = list(self.bus.read(positions, most))
        if not records:
            return
        self.fail_in = fail_in
        try:
            await process.writer.write(process.owned, records, positions)
        except (NotOwner, Unavailable):
            await self._load_again(process)
        if crash:
            process.owned = believed
        self.fail_in = None

    async def _load_again(self, process: Process) -> None:
        try:
            await self.take(process)
        except Replaced:
            self.processes.remove(process)

    async def settle(self) -> None:
        """Publish what is left, twice, and let one new process read everything."""
        for partition in range(PARTITIONS):
            await self.publish(partition, EVENTS, EVENTS)
            await self.publish(partition, EVENTS, 0)
        await self.start_process(1000)
        process = self.processes[-1]
        while any(mine.next < self.bus.logs(TOPIC)[one.partition].end for one, mine in process.owned.items()):
            await self.work(len(self.processes) - 1, 7, None, crash=False)


def _event(partition: int, seq: int) -> Message:
    place = (("ce_maestroepoch", b"1"), ("ce_maestroseq", b"%d" % seq)) if partition != FOREIGN else ()
    headers = (("ce_source", b"https://maestro.example/invoicing"), *place)
    return Message(TOPIC, b"k", b"p%d-%d" % (partition, seq), headers, partition)


PUBLISH = st.tuples(st.just("publish"), st.integers(0, PARTITIONS - 1), st.integers(0, EVENTS), st.integers(0, EVENTS))
START = st.tuples(st.just("start_process"), st.integers(0, 3))
WORK = st.tuples(st.just("work"), st.integers(0, 5), st.integers(1, 12), st.none() | st.integers(1, 12), st.booleans())
STEPS = st.lists(PUBLISH | START | WORK, max_size=14)


@pytest.fixture
def dsn(fresh_database: Callable[..., str]) -> str:
    """One database for all examples: each has a consumer and a topic id of its own."""
    return fresh_database("any")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_every_event_has_exactly_one_effect_in_order(steps: list[tuple[object, ...]], dsn: str) -> None:
    found = asyncio.run(_live_through(steps, dsn))

    expected = {partition: [f"p{partition}-{seq}" for seq in range(1, EVENTS + 1)] for partition in range(PARTITIONS)}
    assert {n: [one for one in found if one.startswith(f"p{n}-")] for n in range(PARTITIONS)} == expected


async def _live_through(steps: list[tuple[object, ...]], dsn: str) -> list[str]:
    async with bus_store(dsn, max_size=2) as pool:
        await pool.execute("TRUNCATE effect")
        world = World(MemoryBus(), pool)
        await world.bus.ensure_topics(list(registry().values()))
        await world.start_process(999)
        for name, *arguments in steps:
            await getattr(world, str(name))(*arguments)
        await world.settle()
        return await effects(pool)
