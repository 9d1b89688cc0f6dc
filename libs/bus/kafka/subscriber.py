"""A member of a consumer group whose positions come from its user, never from the broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import IllegalStateError, KafkaError

from libs.bus.kafka.access import KafkaAccess, connecting
from libs.bus.kafka.batches import guard_consumers
from libs.bus.kafka.closing import put_away
from libs.bus.kafka.faults import in_our_words
from libs.bus.kafka.groups import metadata_of
from libs.bus.kafka.untyped import FromAiokafka
from libs.bus.marks import Mark
from libs.bus.ports import Assigned, Committed, Fetched, Offsets, Seen
from libs.bus.records import Record, TopicPartition
from libs.runtime.errors import Unavailable

POLL_WAIT_MS: Final = 250  # how long an idle poll waits: it bounds how late a new assignment is noticed
FETCH_WAIT_MS: Final = 250  # how long the broker may hold a fetch that has nothing
FETCH_BYTES: Final = 8 * 1024 * 1024  # one prefetch of all partitions together
PARTITION_FETCH_BYTES: Final = 1024 * 1024  # of one partition; a single larger batch still comes whole
SESSION_TIMEOUT_MS: Final = 10_000  # a static member that is killed has this long to come back to its partitions
HEARTBEAT_MS: Final = 1_000  # a rebalance is noticed within this
REQUEST_TIMEOUT_MS: Final = 15_000  # above the session timeout: joining a group may take that long
REVOKE_WAIT_S: Final = 5.0  # how long a rebalance waits for a batch in hand; fencing in the store covers the rest
PROGRESS_S: Final = 1.0  # how often positions go to the broker; lag tools look every few seconds
COMMIT_TIMEOUT_S: Final = 5.0
METADATA_MS: Final = 30_000  # new partitions are noticed within this


class KafkaSubscriber:
    """See `libs.bus.ports.Subscriber`."""

    def __init__(
        self, access: KafkaAccess, topics: Collection[str], *, group: str, instance: str, max_records: int
    ) -> None:
        """Remember what to join; `start` joins."""
        self._topics = sorted(topics)
        self._max_records = max_records
        self._access = access
        self._settings = {
            "client_id": f"{group}.{instance}",
            "group_id": group,
            "group_instance_id": instance,
        }
        self._consumer: FromAiokafka = None
        self._pending: Assigned | None = None
        self._generation = 0
        self._polled_generation = 0
        self._idle = asyncio.Event()
        self._progress: dict[KafkaPartition, tuple[int, str]] = {}
        self._progress_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join the group; raises Unavailable while broker or topic are missing."""
        self._idle.set()
        guard_consumers()
        self._consumer = AIOKafkaConsumer(
            **self._access.client_settings(),
            **self._settings,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            metadata_max_age_ms=METADATA_MS,
        )
        self._consumer.subscribe(self._topics, listener=_Rebalances(self))
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(self.stop)
            async with connecting(self._access, f"joining {self._settings['group_id']}"):
                await self._consumer.start()
            on_failure.pop_all()
        self._progress_task = asyncio.create_task(self._commit_progress(), name="show progress to lag tools")

    async def stop(self) -> None:
        """Stop without leaving the group: this member is expected back."""
        self._idle.set()
        if self._progress_task is not None:
            self._progress_task.cancel()
        if self._consumer is not None:
            await put_away(self._consumer)

    async def poll(self) -> Assigned | Fetched:
        """Return the next assignment or records; see `libs.bus.ports.Subscriber.poll`."""
        self._idle.set()
        batches: Mapping[KafkaPartition, list[Record]] = {}
        if self._pending is None:
            refuse_dead(self._consumer)
            with in_our_words(f"reading {', '.join(self._topics)}"):
                batches = await self._consumer.getmany(timeout_ms=POLL_WAIT_MS, max_records=self._max_records)
        if self._pending is not None:
            assigned, self._pending = self._pending, None
            self._polled_generation = self._generation
            return assigned
        if self._generation != self._polled_generation:
            return Fetched()
        self._idle.clear()
        records = [one for source in sorted(batches) for one in batches[source]]
        return Fetched(records, await self._positions())

    def is_current(self) -> bool:
        """Return whether no rebalance has begun since the last `poll`."""
        return self._generation == self._polled_generation

    def resume_at(self, positions: Offsets) -> None:
        """Seek, dropping what was fetched ahead, and let records flow. Partitions lost meanwhile are passed over.

        Nothing is done once a rebalance has begun: the client may have no assignment to seek in, and a new one comes.
        """
        if not self.is_current():
            return
        for source, offset in positions.items():
            target = KafkaPartition(source.topic, source.partition)
            with contextlib.suppress(IllegalStateError):
                self._consumer.seek(target, offset)
                self._consumer.resume(target)

    def share_anew(self) -> None:
        """Join again: the broker shares anew when the group's leader does so, and it may be us.

        What was assigned until now is void from here on, also an assignment that was not polled yet. Not by subscribing
        again: aiokafka's fetcher ends for good where a subscription is replaced just as its assignment comes.
        """
        self._generation += 1
        self._pending = None
        self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - it has no public way

    async def show_progress(self, marks: Mapping[TopicPartition, Mark]) -> None:
        """Note where we are; committed to the broker about once a second."""
        self._progress |= {
            KafkaPartition(one.topic, one.partition): (mark.at, mark.metadata()) for one, mark in marks.items()
        }

    async def commit(self, marks: Mapping[TopicPartition, Committed]) -> None:
        """Have the broker keep how far the group is; it refuses a member of an older generation."""
        kept = {
            KafkaPartition(source.topic, source.partition): (mark.next, metadata_of(mark))
            for source, mark in marks.items()
        }
        with in_our_words(f"committing how far {self._settings['group_id']} is"):
            await asyncio.wait_for(self._consumer.commit(kept), COMMIT_TIMEOUT_S)

    def seen(self) -> Mapping[TopicPartition, Seen]:
        """Return the last answer for every assigned partition that had one."""
        return last_answers(self._consumer)

    def hold(self, partitions: Collection[KafkaPartition]) -> None:
        """Take an assignment: nothing flows until the user has said from where.

        Runs before aiokafka can look up the group's committed offsets, which are for lag tools and must not be used.
        """
        for one in partitions:
            self._consumer.pause(one)
            self._consumer.seek(one, 0)
        self._progress.clear()
        self._generation += 1
        self._pending = Assigned(frozenset(TopicPartition(one.topic, one.partition) for one in partitions))

    async def let_go(self) -> None:
        """Partitions are being revoked: wait until the batch in hand is written or given up."""
        self._generation += 1
        self._pending = None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), REVOKE_WAIT_S)

    async def _positions(self) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = {}
        for one in self._consumer.assignment():
            with contextlib.suppress(IllegalStateError):
                found[TopicPartition(one.topic, one.partition)] = await self._consumer.position(one)
        return found

    async def _commit_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            if not self._progress:
                continue
            generation, positions, self._progress = self._generation, self._progress, {}
            try:
                await asyncio.wait_for(self._consumer.commit(positions), COMMIT_TIMEOUT_S)
            except (KafkaError, TimeoutError, OSError):
                if generation == self._generation:  # still ours to tell: the next time, unless there is news
                    self._progress = positions | self._progress


class _Rebalances(ConsumerRebalanceListener):
    """aiokafka's callbacks: revocation before joining, assignment right after."""

    def __init__(self, subscriber: KafkaSubscriber) -> None:
        self._subscriber = subscriber

    async def on_partitions_revoked(self, revoked: set[KafkaPartition]) -> None:
        """Wait for the batch in hand; every partition is revoked (the protocol is eager), also those that come back."""
        del revoked
        await self._subscriber.let_go()

    def on_partitions_assigned(self, assigned: set[KafkaPartition]) -> None:
        """Hold the partitions."""
        self._subscriber.hold(assigned)


def refuse_dead(consumer: FromAiokafka) -> None:
    """Raise Unavailable where aiokafka's own task of fetching has ended: it looks at it nowhere, and reads no more."""
    fetching = consumer._fetcher.error_future  # noqa: SLF001 - it has no other way
    if fetching.done():
        why = "it was cancelled" if fetching.cancelled() else str(fetching.exception() or "it ended by itself")
        raise Unavailable(f"the client fetches no more: {why}")


def last_answers(consumer: FromAiokafka) -> dict[TopicPartition, Seen]:
    """Return what the broker last said about each partition of `consumer`."""
    found: dict[TopicPartition, Seen] = {}
    for one in consumer.assignment():
        end, at_ms = consumer.last_stable_offset(one), consumer.last_poll_timestamp(one)
        if end is not None and at_ms is not None:
            found[TopicPartition(one.topic, one.partition)] = Seen(end, at_ms)
    return found
