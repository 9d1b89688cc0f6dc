"""The bus in memory, with the broker's semantics: partitions, offsets, groups of static members, topic ids, log starts.

One `MemoryBus` is one broker and any number of clients. Unit tests run consumers, relays and tables on it; the suite in
tests/contract/bus holds it to what Kafka does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final
from uuid import UUID

from libs.bus.marks import Mark
from libs.bus.partitioner import partition_of
from libs.bus.ports import (
    Assigned,
    Committed,
    Fetched,
    GroupInUse,
    Offsets,
    OutOfRange,
    Publisher,
    Reader,
    Seen,
    Subscriber,
    Voice,
)
from libs.bus.records import Message, Record, TopicPartition
from libs.bus.topics import missing_topics
from libs.runtime.clock import Clock, SystemClock
from libs.runtime.errors import TooLarge, Unavailable
from libs.schemas.topics import TopicSpec, dead_letter_spec
from libs.schemas.values import microseconds

POLL_WAIT_S: Final = 0.05  # how long an idle poll waits


@dataclass(slots=True)
class _Log:
    """One partition. `records` are kept in order of offset; compaction and retention leave gaps."""

    records: list[Record] = field(default_factory=list)
    start: int = 0
    end: int = 0

    def after(self, offset: int, most: int) -> list[Record]:
        return [record for record in self.records if record.offset >= offset][:most]


@dataclass(slots=True)
class _Topic:
    spec: TopicSpec
    id: UUID
    logs: list[_Log]


@dataclass(slots=True)
class _Group:
    """Members by instance, in joining order; each knows what it was given."""

    name: str
    topics: tuple[str, ...]
    members: dict[str, MemorySubscriber] = field(default_factory=dict)
    assigned: dict[str, frozenset[TopicPartition]] = field(default_factory=dict)
    committed: dict[TopicPartition, Committed] = field(default_factory=dict)


class MemoryBus:
    """See the module. `down = True` makes every call raise Unavailable, as an unreachable broker does."""

    def __init__(self, clock: Clock | None = None, random: Random | None = None) -> None:
        """Start without topics. Append times come from `clock`, topic ids from `random`."""
        self.down = False
        self._clock = clock or SystemClock()
        self._random = random or Random(1)  # noqa: S311 - ids, no secrets
        self._topics: dict[str, _Topic] = {}
        self._groups: dict[str, _Group] = {}
        self._marks: dict[str, dict[TopicPartition, Mark]] = {}
        self._news = asyncio.Event()
        self._newest: dict[str, int] = {}
        self._heard: dict[tuple[str, TopicPartition], int] = {}

    async def start(self) -> None:
        """Connect."""
        self.check()

    async def stop(self) -> None:
        """Disconnect; what was published stays."""

    @property
    def publisher(self) -> Publisher:
        """The one publisher."""
        return MemoryPublisher(self)

    def voice(self, name: str) -> Voice:
        """Return a publisher under `name`."""
        return MemoryVoice(self, name)

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create those that do not exist, with their dead letter topics."""
        self.check()
        for spec in specs:
            for one in [spec, dead_letter_spec(spec)] if spec.dead_letter else [spec]:
                if one.name not in self._topics:
                    new_id = UUID(int=self._random.getrandbits(128), version=4)
                    self._topics[one.name] = _Topic(one, new_id, [_Log() for _ in range(one.partitions)])

    async def require_topics(self, names: Collection[str]) -> None:
        """Raise Unavailable where one of them does not exist."""
        missing = sorted(set(names) - (await self.topic_ids(names)).keys())
        if missing:
            raise Unavailable(missing_topics(missing))

    async def partitions(self, topic: str) -> int:
        """Return the partition count; raises Unavailable where the topic does not exist."""
        return len(self.logs(topic))

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, UUID]:
        """Return the id of each topic that exists."""
        self.check()
        return {name: self._topics[name].id for name in topics if name in self._topics}

    async def start_offsets(self, topic: str) -> Mapping[int, int]:
        """Return the first offset that each partition still holds."""
        return {number: log.start for number, log in enumerate(self.logs(topic))}

    async def end_offsets(self, topic: str) -> Mapping[int, int]:
        """Return each partition's end."""
        return {number: log.end for number, log in enumerate(self.logs(topic))}

    async def marks(self, group: str) -> Mapping[TopicPartition, Mark]:
        """Return how far the store behind `group` has said to be."""
        self.check()
        return dict(self._marks.get(group, {}))

    async def mark(self, group: str, marks: Mapping[TopicPartition, Mark]) -> None:
        """Leave marks for `group`."""
        self.check()
        self._marks.setdefault(group, {}).update(marks)

    async def committed(self, group: str, topic: str) -> Mapping[int, Committed]:
        """Return how far `group`, of a consumer without a store, is in each partition that it has committed."""
        self.check()
        kept = self._groups[group].committed if group in self._groups else {}
        return {source.partition: mark for source, mark in kept.items() if source.topic == topic}

    async def commit_for(self, group: str, topic: str, marks: Mapping[int, Committed]) -> None:
        """Set how far `group` is: an operator's step. Raises GroupInUse while the group has members."""
        self.check()
        found = self._groups.setdefault(group, _Group(group, (topic,)))
        if found.members:
            raise GroupInUse(f"{group} has members: stop its processes, and try again")
        found.committed |= {TopicPartition(topic, number): mark for number, mark in marks.items()}

    def subscriber(self, topics: Collection[str], *, group: str, instance: str, max_records: int) -> Subscriber:
        """Return a new member of `group` with the static id `instance`."""
        found = self._groups.setdefault(group, _Group(group, tuple(sorted(topics))))
        return MemorySubscriber(self, found, instance, max_records)

    def reader(self, topic: str) -> Reader:
        """Return a new reader of the whole topic."""
        return MemoryReader(self, topic)

    # --- what a test does to the broker

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its records and what groups committed; `ensure_topics` makes it again with another id."""
        del self._topics[topic]
        for group in self._groups.values():
            group.committed = {source: mark for source, mark in group.committed.items() if source.topic != topic}

    def add_partitions(self, topic: str, count: int) -> None:
        """Let `topic` have `count` partitions."""
        logs = self._topics[topic].logs
        logs += [_Log() for _ in range(count - len(logs))]

    def drop_before(self, source: TopicPartition, offset: int) -> None:
        """Retention: records below `offset` are gone."""
        log = self.logs(source.topic)[source.partition]
        log.records = log.after(offset, len(log.records))
        log.start = max(log.start, offset)

    def compact(self, topic: str) -> None:
        """Keep only the last record of every key, at its offset."""
        for log in self.logs(topic):
            last = {record.key: record.offset for record in log.records}
            log.records = [record for record in log.records if last[record.key] == record.offset]

    def records(self, topic: str) -> list[Record]:
        """Return all records of `topic`, partition by partition."""
        return [record for log in self.logs(topic) for record in log.records]

    def members(self, group: str) -> Collection[str]:
        """Return the instances that the broker holds for members of `group`."""
        return self._groups[group].members if group in self._groups else ()

    def expire(self, group: str, instance: str) -> None:
        """The session of a member that is gone has timed out: the others get its partitions."""
        found = self._groups[group]
        found.members.pop(instance, None)
        found.assigned.pop(instance, None)
        self.rebalance(found)

    # --- for the clients below

    def check(self) -> None:
        """Raise Unavailable while the broker is down."""
        if self.down:
            raise Unavailable("the broker in memory is down")

    def logs(self, topic: str) -> list[_Log]:
        """Return the partitions of `topic`."""
        self.check()
        if topic not in self._topics:
            raise Unavailable(f"topic {topic} does not exist yet")
        return self._topics[topic].logs

    def target_of(self, message: Message) -> TopicPartition:
        """Return where the message goes."""
        count = len(self.logs(message.topic))
        number = partition_of(message.key, count) if message.partition is None else message.partition
        return TopicPartition(message.topic, number)

    def append(self, message: Message) -> None:
        """Append one message; raises TooLarge over the topic's bound."""
        logs = self.logs(message.topic)
        spec = self._topics[message.topic].spec
        size = len(message.key or b"") + len(message.value or b"")
        if size > spec.max_record_bytes:
            raise TooLarge(f"publishing to {message.topic}: larger than the topic's max.message.bytes")
        number = self.target_of(message).partition
        log = logs[number]
        log.records.append(
            Record(message.topic, number, log.end, message.key, message.value, message.headers, self.now_ms())
        )
        log.end += 1
        self._news.set()

    def new_epoch(self, name: str) -> int:
        """Return an epoch for a voice that is greater than those of all voices of that name before it."""
        self._newest[name] = self._newest.get(name, -1) + 1
        return self._newest[name]

    def fence(self, name: str, epoch: int, target: TopicPartition) -> None:
        """Let the voice write there; raises Unavailable where a newer one of its name has written."""
        if epoch < self._heard.get((name, target), 0):
            raise Unavailable("a newer process speaks in our place")
        self._heard[name, target] = epoch

    def now_ms(self) -> int:
        """Return the broker's clock."""
        return microseconds(self._clock.now()) // 1000

    async def news(self) -> None:
        """Wait until something is appended, or a short while."""
        self._news.clear()
        try:
            async with asyncio.timeout(POLL_WAIT_S):  # wait_for can swallow a cancellation before Python 3.12
                await self._news.wait()
        except TimeoutError:
            return

    def read(self, positions: dict[TopicPartition, int], most: int) -> Iterator[Record]:
        """Yield the next records of every partition and move `positions` behind them; raises OutOfRange."""
        for source in sorted(positions):
            log = self.logs(source.topic)[source.partition]
            if not log.start <= positions[source] <= log.end:
                raise OutOfRange(source, positions[source])
            found = log.after(positions[source], most)
            most -= len(found)
            if found:
                positions[source] = found[-1].offset + 1
            elif most > 0:
                positions[source] = log.end  # compacted records take offsets too
            yield from found

    def answers(self, sources: Collection[TopicPartition]) -> Mapping[TopicPartition, Seen]:
        """Return where each partition ends now."""
        now_ms = self.now_ms()
        return {source: Seen(self.logs(source.topic)[source.partition].end, now_ms) for source in sources}

    def rebalance(self, group: _Group) -> None:
        """Give every member its share, round robin, and tell it, also where nothing changed: the protocol is eager."""
        sources = [TopicPartition(topic, number) for topic in group.topics for number in range(len(self.logs(topic)))]
        members = sorted(group.members)
        for index, instance in enumerate(members):
            share = frozenset(sources[index :: len(members)])
            group.assigned[instance] = share
            group.members[instance].give(share)


class MemoryPublisher:
    """See `libs.bus.ports.Publisher`."""

    def __init__(self, bus: MemoryBus) -> None:
        """Publish to `bus`."""
        self._bus = bus

    async def publish(self, messages: Sequence[Message], *, until_s: float | None = None) -> None:
        """Append all in order, none past `until_s`."""
        loop = asyncio.get_running_loop()
        for message in messages:
            if until_s is not None and loop.time() > until_s:
                raise Unavailable("what was to be published came too late")
            self._bus.append(message)


class MemoryVoice(MemoryPublisher):
    """See `libs.bus.ports.Voice`."""

    def __init__(self, bus: MemoryBus, name: str) -> None:
        """Publish to `bus` under `name`; the newest from the first message on."""
        super().__init__(bus)
        self._name = name
        self._epoch: int | None = None

    async def renew(self) -> None:
        """Be the newest from the next message on."""
        self._epoch = None

    async def publish(self, messages: Sequence[Message], *, until_s: float | None = None) -> None:
        """Append all in order, none past `until_s`, none where a newer voice has written."""
        if self._epoch is None:
            self._epoch = self._bus.new_epoch(self._name)
        for message in messages:
            self._bus.fence(self._name, self._epoch, self._bus.target_of(message))
            await super().publish([message], until_s=until_s)


class MemorySubscriber:
    """See `libs.bus.ports.Subscriber`. A second one under the same instance takes the first one's place at once."""

    def __init__(self, bus: MemoryBus, group: _Group, instance: str, max_records: int) -> None:
        """Belong to `group`; `start` joins."""
        self._bus = bus
        self._group = group
        self._instance = instance
        self._max_records = max_records
        self._pending: Assigned | None = None
        self._current = False
        self._positions: dict[TopicPartition, int] = {}
        self._seen: Mapping[TopicPartition, Seen] = {}

    async def start(self) -> None:
        """Join. A static member that comes back gets the partitions it had, without a rebalance."""
        self._bus.check()
        for topic in self._group.topics:
            self._bus.logs(topic)
        known = self._instance in self._group.members
        self._group.members[self._instance] = self
        if known:
            self.give(self._group.assigned[self._instance])
        else:
            self._bus.rebalance(self._group)

    async def stop(self) -> None:
        """Stop without leaving the group."""
        self._positions = {}

    def give(self, share: frozenset[TopicPartition]) -> None:
        """Take an assignment from the broker."""
        self._pending = Assigned(share)
        self._current = False
        self._positions = {}

    async def poll(self) -> Assigned | Fetched:
        """Return the next assignment or records; a member that lost its place joins again, as aiokafka does."""
        if self._group.members.get(self._instance) is not self:
            await self.start()
        if self._pending is None:
            self._bus.check()
            records = list(self._bus.read(self._positions, self._max_records))
            if records or self._pending is not None:
                self._seen = self._bus.answers(self._positions)
                return Fetched(records, dict(self._positions))
            await self._bus.news()
        if self._pending is not None:
            assigned, self._pending = self._pending, None
            self._current = True
            return assigned
        self._seen = self._bus.answers(self._positions)
        return Fetched((), dict(self._positions))

    def is_current(self) -> bool:
        """Return whether no rebalance has begun since the last assignment was taken."""
        return self._current and self._group.members.get(self._instance) is self

    def resume_at(self, positions: Offsets) -> None:
        """Read on from these offsets."""
        share = self._group.assigned.get(self._instance, frozenset())
        if self.is_current():
            self._positions.update({source: offset for source, offset in positions.items() if source in share})

    def share_anew(self) -> None:
        """Have the group share all partitions again."""
        self._bus.rebalance(self._group)

    async def show_progress(self, marks: Mapping[TopicPartition, Mark]) -> None:
        """Leave marks."""
        with suppress(Unavailable):
            await self._bus.mark(self._group.name, marks)

    async def commit(self, marks: Mapping[TopicPartition, Committed]) -> None:
        """Have the broker keep how far the group is; it refuses a member whose partitions have moved."""
        self._bus.check()
        if not self.is_current() or not self._group.assigned[self._instance] >= marks.keys():
            raise Unavailable("the group has other members by now")
        self._group.committed |= marks

    def seen(self) -> Mapping[TopicPartition, Seen]:
        """Return the last answers."""
        return self._seen


class MemoryReader:
    """See `libs.bus.ports.Reader`."""

    def __init__(self, bus: MemoryBus, topic: str) -> None:
        """Read `topic`; `start` begins."""
        self._bus = bus
        self._topic = topic
        self._positions: dict[TopicPartition, int] = {}
        self._seen: Mapping[TopicPartition, Seen] = {}

    async def start(self, positions: Mapping[int, int] | None = None) -> Mapping[int, int]:
        """Begin at `positions`, elsewhere at the log's start, and return each partition's end."""
        starts = {**await self._bus.start_offsets(self._topic), **(positions or {})}
        self._positions = {TopicPartition(self._topic, number): offset for number, offset in starts.items()}
        return await self._bus.end_offsets(self._topic)

    async def poll(self) -> Fetched:
        """Return the next records, none after a short wait."""
        records = list(self._bus.read(self._positions, most=5_000))
        if not records:
            await self._bus.news()
        self._seen = self._bus.answers(self._positions)
        return Fetched(records, dict(self._positions))

    def seen(self) -> Mapping[TopicPartition, Seen]:
        """Return the last answers."""
        return self._seen

    async def stop(self) -> None:
        """End."""
        self._positions = {}
