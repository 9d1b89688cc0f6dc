"""What the bus offers to consumers and relays. Two implementations: Kafka, and one in memory under the same tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from libs.bus.marks import Mark
from libs.bus.records import Message, Record, TopicPartition
from libs.runtime.errors import Rejected
from libs.schemas.topics import TopicSpec

Offsets = Mapping[TopicPartition, int]


class OutOfRange(Exception):
    """The log no longer holds, or never held, the offset that was asked for."""

    def __init__(self, source: TopicPartition, offset: int) -> None:
        """Name the partition and the offset."""
        super().__init__(f"{source} holds no offset {offset}")
        self.source = source
        self.offset = offset


class GroupInUse(Rejected):
    """Members of the group run, and only they may say how far it is."""

    code = "group_in_use"
    title = "The consumer group has running members"


@dataclass(frozen=True, slots=True)
class Assigned:
    """The group gave these partitions to this member, all others are gone. Nothing flows until `resume_at`."""

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records in order of (topic, partition, offset), and where each partition's reading stands after them.

    A position can lie beyond the last offset plus one: transaction markers and compacted records take offsets too.
    """

    records: Sequence[Record] = ()
    positions: Offsets = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Committed:
    """How far a group has come in one partition, kept in the broker: for consumers without a store of their own.

    `topic_id` says of which topic, `appended_at_ms` when the last record taken was appended (milliseconds since 1970).
    None where that was not said: before the first record, or by another tool.
    """

    next: int
    topic_id: UUID | None = None
    appended_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the broker's last answer for a partition said, and when: where its read_committed log ended."""

    end: int
    at_ms: int


class Publisher(Protocol):
    """Writes messages durably."""

    async def publish(self, messages: Sequence[Message], *, until_s: float | None = None) -> None:
        """Return when all are durable on all in-sync replicas; raise Unavailable otherwise (some may be durable).

        Within a partition messages are appended in the order given, over all calls, and after one that failed nothing
        of the same call is appended. Past `until_s`, by the running loop's time, nothing is handed to the broker any
        more: whoever speaks under a lease may have a successor by then. Raises TooLarge for a message over the broker's
        bound.
        """
        ...


class Voice(Publisher, Protocol):
    """A publisher under a name, of which the newest counts.

    What an earlier one of that name still has in hand is refused in every partition in which the newest has written:
    also what lay in its client while the process stood still. It raises Unavailable there.
    """

    async def renew(self) -> None:
        """Be the newest from the next `publish` on. Call it when the right to speak under the name was gained."""
        ...


class Subscriber(Protocol):
    """One member of a consumer group. Positions come from its user, who may have asked the bus what is committed."""

    async def start(self) -> None:
        """Join; raises Unavailable while the broker does not answer."""
        ...

    async def stop(self) -> None:
        """Leave the broker alone. A static member keeps its partitions until the session times out."""
        ...

    async def poll(self) -> Assigned | Fetched:
        """Return the next assignment or the next records, an empty Fetched after a short wait without any.

        Calling it says that everything returned before is written or given up: a revocation waits (for a bounded time)
        for that call. Raises OutOfRange, or Unavailable.
        """
        ...

    def is_current(self) -> bool:
        """Return whether the partitions of the last `poll` are still this member's."""
        ...

    def resume_at(self, positions: Offsets) -> None:
        """Read on from these offsets; also goes back, dropping whatever was fetched ahead."""
        ...

    def share_anew(self) -> None:
        """Have the group share all partitions again, as it does not by itself when a static member comes back."""
        ...

    async def show_progress(self, marks: Mapping[TopicPartition, Mark]) -> None:
        """Commit how far the store is to the broker: for lag tools, and to notice a store that went back in time.

        Nobody reads on from there. Failing is harmless and silent.
        """
        ...

    async def commit(self, marks: Mapping[TopicPartition, Committed]) -> None:
        """Have the broker keep how far the group is; raise Unavailable where it may not, such as after a rebalance."""
        ...

    def seen(self) -> Mapping[TopicPartition, Seen]:
        """Return the last answer for every assigned partition that had one."""
        ...


class Reader(Protocol):
    """Reads all partitions of one topic, without a group."""

    async def start(self, positions: Mapping[int, int] | None = None) -> Mapping[int, int]:
        """Begin at `positions`, elsewhere at the log's start, and return each partition's read_committed end."""
        ...

    async def poll(self) -> Fetched:
        """Return the next records, none after a short wait. Raises OutOfRange, or Unavailable."""
        ...

    def seen(self) -> Mapping[TopicPartition, Seen]:
        """Return the last answer for every partition that had one."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class Bus(Protocol):
    """The connection of one process to the broker."""

    async def start(self) -> None:
        """Connect; raises Unavailable while the broker does not answer."""
        ...

    async def stop(self) -> None:
        """Flush what is being published and disconnect."""
        ...

    @property
    def publisher(self) -> Publisher:
        """The process's one publisher."""
        ...

    def voice(self, name: str) -> Voice:
        """Return a publisher under `name`, for whoever speaks alone: a relay. It ends with the bus."""
        ...

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create those that do not exist, with their dead letter topics. Existing ones stay as they are.

        A step of an operator; services `require_topics`.
        """
        ...

    async def require_topics(self, names: Collection[str]) -> None:
        """Raise Unavailable where one of them does not exist, Broken where the broker denies it to us."""
        ...

    async def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` has; raises Unavailable where it does not exist (yet)."""
        ...

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, UUID]:
        """Return the broker's id of each topic that exists; one deleted and made again has another."""
        ...

    async def start_offsets(self, topic: str) -> Mapping[int, int]:
        """Return the first offset that each partition still holds."""
        ...

    async def end_offsets(self, topic: str) -> Mapping[int, int]:
        """Return each partition's read_committed end: the offset after the last that readers can see."""
        ...

    async def marks(self, group: str) -> Mapping[TopicPartition, Mark]:
        """Return how far the store behind `group` has said to be; partitions without a mark are left out."""
        ...

    async def mark(self, group: str, marks: Mapping[TopicPartition, Mark]) -> None:
        """Leave marks for `group`, which has no members. Raises Unavailable."""
        ...

    async def committed(self, group: str, topic: str) -> Mapping[int, Committed]:
        """Return how far `group`, of a consumer without a store, is in each partition that it has committed."""
        ...

    async def commit_for(self, group: str, topic: str, marks: Mapping[int, Committed]) -> None:
        """Set how far `group` is: an operator's step. Raises GroupInUse while the group has members."""
        ...

    def subscriber(self, topics: Collection[str], *, group: str, instance: str, max_records: int) -> Subscriber:
        """Return a new member of `group` with the static id `instance`; at most `max_records` come with one poll."""
        ...

    def reader(self, topic: str) -> Reader:
        """Return a new reader of the whole topic."""
        ...
