"""Everything that can happen to a consumer in any order: repeated publishing, crashes, new owners, zombies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

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

Step = tuple[object, ...]
"""The name of one of World's methods, and its arguments."""

MOST_STEPS = 14
MOST_RECORDS = 12  # of one read

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


async def live_through(steps: Sequence[Step], dsn: str) -> list[str]:
    """Take the steps and let everything settle; the effects that were made."""
    async with bus_store(dsn, max_size=2) as pool:
        await pool.execute("TRUNCATE effect")
        world = World(MemoryBus(), pool)
        await world.bus.ensure_topics(list(registry().values()))
        await world.start_process(999)
        for name, *arguments in steps:
            await getattr(world, str(name))(*arguments)
        await world.settle()
        return await effects(pool)


def is_exact(found: Sequence[str]) -> bool:
    """Whether each event has exactly one effect, in order within its partition."""
    return {n: [one for one in found if one.startswith(f"p{n}-")] for n in range(PARTITIONS)} == {
        n: [f"p{n}-{seq}" for seq in range(1, EVENTS + 1)] for n in range(PARTITIONS)
    }


def steps_of(seed: int) -> list[Step]:
    """Return steps that follow from `seed`."""
    random = Random(seed)  # noqa: S311 - an interleaving, no secret
    return [_step(random) for _ in range(MOST_STEPS)]


def _step(random: Random) -> Step:
    name = random.choices(["publish", "start_process", "work"], weights=[5, 2, 7])[0]
    if name == "publish":
        return name, random.randrange(PARTITIONS), random.randint(0, EVENTS), random.randint(0, EVENTS)
    if name == "start_process":
        return name, random.randint(0, 3)
    fail_in = random.choice([None, random.randint(1, 3)])
    return name, random.randint(0, 5), random.randint(1, MOST_RECORDS), fail_in, random.random() < 0.5
