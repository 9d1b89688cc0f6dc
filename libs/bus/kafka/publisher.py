"""Durable, ordered, batched writes: one batch in flight per partition, and what comes meanwhile forms the next.

Why not aiokafka's own queue: it gives up a batch that is too old and goes on with the next one. A relay that then
publishes the first again would have its consumers see it behind greater sequence numbers, and drop it. Here a failure
takes everything behind it in the partition along, so that whatever is durable is a prefix.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaProducer

from libs.bus.kafka.access import KafkaAccess, connecting
from libs.bus.kafka.faults import in_our_words
from libs.bus.kafka.untyped import FromAiokafka
from libs.bus.partitioner import partition_of
from libs.bus.records import Message, TopicPartition
from libs.runtime.errors import MaestroError, Unavailable

BATCH_BYTES: Final = 512 * 1024  # before compression; below every topic's max.message.bytes
BUFFER_BYTES: Final = 32 * 1024 * 1024  # what may wait in this process, all partitions together
PUBLISH_TIMEOUT_S: Final = 10.0  # longer than a broker needs to elect a leader, shorter than callers wait
DELIVERY_TIMEOUT_MS: Final = 8_000  # within it aiokafka retries a batch by itself, without duplicates
START_TIMEOUT_S: Final = 5.0  # for a first connection and a producer id
STOP_TIMEOUT_S: Final = 5.0
NAME_TIMEOUT_MS: Final = 60_000  # of transactions, which a name could have; there are none
RECORD_OVERHEAD_BYTES: Final = 64  # lengths, offsets and small headers of one record, roughly
RETRY_AFTER_S: Final = 2
COMPRESSION: Final = "lz4"  # half the CPU of zstd at JSON's sizes; CPU is what two cores lack


@dataclass(slots=True)
class _Job:
    """The messages of one call for one partition, in order; `done` is resolved when all of them are durable."""

    messages: Sequence[Message]
    done: asyncio.Future[None]
    deadline_s: float
    sent: int = 0

    def is_over(self) -> bool:
        """Return whether nothing more of it may be sent: a process that was frozen must not speak for its successor."""
        return self.done.done() or self.done.get_loop().time() > self.deadline_s


@dataclass(slots=True)
class _Lane:
    """What waits for one partition."""

    jobs: deque[_Job] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None


class KafkaPublisher:
    """See the module. Connects at the first message; after any failure it starts over with a new producer id."""

    def __init__(
        self,
        access: KafkaAccess,
        *,
        client_id: str,
        partitions: Callable[[str], Awaitable[int]],
        name: str | None = None,
    ) -> None:
        """Remember where to connect, and how to learn a topic's partition count. With a `name` it is a Voice."""
        self._name = name
        self._access = access
        self._client_id = client_id
        self._partitions = partitions
        self._producer: FromAiokafka = None
        self._starting = asyncio.Lock()
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._waiting_bytes = 0
        self._leaving: set[asyncio.Task[None]] = set()

    async def publish(self, messages: Sequence[Message], *, until_s: float | None = None) -> None:
        """Return when all are durable; raise Unavailable otherwise. See `libs.bus.ports.Publisher`."""
        size = sum(map(_size, messages))
        if self._waiting_bytes and self._waiting_bytes + size > BUFFER_BYTES:
            raise Unavailable("the buffer to Kafka is full", retry_after_s=RETRY_AFTER_S)
        self._waiting_bytes += size
        jobs: list[_Job] = []
        try:
            jobs = self._enqueue(await self._by_partition(messages), until_s)
            await self._wait_for(jobs)
        finally:
            self._waiting_bytes -= size
            for job in jobs:  # a caller that gives up takes back what has not been sent
                job.done.cancel()

    async def renew(self) -> None:
        """Be the newest of our name from the next message on; see `libs.bus.ports.Voice`."""
        if self._producer is not None:
            self._discard(self._producer)

    async def stop(self) -> None:
        """Wait for what is in flight, for a bounded time, and disconnect."""
        workers = [lane.worker for lane in self._lanes.values() if lane.worker is not None]
        if workers:
            await asyncio.wait(workers, timeout=STOP_TIMEOUT_S)
        if self._producer is not None:
            self._discard(self._producer)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=STOP_TIMEOUT_S)

    async def _by_partition(self, messages: Sequence[Message]) -> dict[TopicPartition, list[Message]]:
        counts = {topic: await self._partitions(topic) for topic in dict.fromkeys(one.topic for one in messages)}
        grouped: dict[TopicPartition, list[Message]] = {}
        for one in messages:
            number = partition_of(one.key, counts[one.topic]) if one.partition is None else one.partition
            grouped.setdefault(TopicPartition(one.topic, number), []).append(one)
        return grouped

    def _enqueue(self, grouped: dict[TopicPartition, list[Message]], until_s: float | None) -> list[_Job]:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + PUBLISH_TIMEOUT_S
        if until_s is not None:
            if loop.time() > until_s:
                raise Unavailable("what was to be published came too late")
            deadline_s = min(deadline_s, until_s)
        jobs: list[_Job] = []
        for target, messages in grouped.items():
            lane = self._lanes.setdefault(target, _Lane())
            jobs.append(_Job(messages, loop.create_future(), deadline_s))
            lane.jobs.append(jobs[-1])
            if lane.worker is None:
                lane.worker = asyncio.create_task(self._drain(target, lane), name=f"publish {target}")
        return jobs

    async def _wait_for(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        done, late = await asyncio.wait([job.done for job in jobs], timeout=PUBLISH_TIMEOUT_S)
        errors = [error for one in done if (error := one.exception()) is not None]
        if errors:
            raise errors[0]
        if late:
            raise Unavailable(f"Kafka took longer than {PUBLISH_TIMEOUT_S:g} s", retry_after_s=RETRY_AFTER_S)

    async def _drain(self, target: TopicPartition, lane: _Lane) -> None:
        """Send batch after batch until nothing waits. A failure fails all that waits: it stood behind."""
        finished: list[_Job] = []
        try:
            while lane.jobs:
                finished.clear()
                with in_our_words(f"publishing to {target}", target.topic):
                    await self._send_one(target, lane, finished)
        except MaestroError as error:
            _fail(error, finished, lane)
        finally:
            _fail(Unavailable(f"publishing to {target} ended"), finished, lane)
            lane.worker = None

    async def _send_one(self, target: TopicPartition, lane: _Lane, finished: list[_Job]) -> None:
        producer = await self._ready()
        batch = producer.create_batch()
        _fill(batch, lane, finished)
        if not batch.record_count():
            return
        with ExitStack() as on_failure:
            # Sequence numbers of an idempotent producer have a hole then: nothing more may go through it.
            on_failure.callback(self._discard, producer)
            acknowledged = await producer.send_batch(batch, target.topic, partition=target.partition)
            await acknowledged
            on_failure.pop_all()
        for job in finished:
            if not job.done.done():
                job.done.set_result(None)

    async def _ready(self) -> FromAiokafka:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._access.client_settings(),
                    client_id=self._client_id,
                    acks="all",
                    enable_idempotence=True,
                    compression_type=COMPRESSION,
                    max_batch_size=BATCH_BYTES,
                    request_timeout_ms=DELIVERY_TIMEOUT_MS,
                )
                with ExitStack() as on_failure:
                    on_failure.callback(self._leave, producer)
                    async with connecting(self._access, "connecting to publish"):
                        await asyncio.wait_for(_start(producer, self._name), START_TIMEOUT_S)
                    on_failure.pop_all()
                self._producer = producer
            return self._producer

    def _discard(self, producer: FromAiokafka) -> None:
        if self._producer is producer:
            self._producer = None
            self._leave(producer)

    def _leave(self, producer: FromAiokafka) -> None:
        task = asyncio.create_task(_stop(producer))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _fill(batch: FromAiokafka, lane: _Lane, finished: list[_Job]) -> None:
    """Move messages into `batch` until it is full or nothing waits; jobs that are wholly in it go to `finished`."""
    while lane.jobs:
        job = lane.jobs[0]
        if not job.is_over():
            if not _pack(batch, job):
                return
            finished.append(job)
        lane.jobs.popleft()


def _pack(batch: FromAiokafka, job: _Job) -> bool:
    """Put what is left of `job` into `batch`; return whether all of it went in."""
    while job.sent < len(job.messages):
        one = job.messages[job.sent]
        if batch.append(key=one.key, value=one.value, timestamp=None, headers=list(one.headers)) is None:
            return False
        job.sent += 1
    return True


def _fail(error: MaestroError, finished: Iterable[_Job], lane: _Lane) -> None:
    for job in [*finished, *lane.jobs]:
        if not job.done.done():
            job.done.set_exception(copy(error))  # one each: a raised error collects its tracebacks
    lane.jobs.clear()


async def _start(producer: FromAiokafka, name: str | None) -> None:
    """Start the producer; with a name, as the newest of that name.

    The broker gives every producer of a transactional id the same producer id and a greater epoch, and refuses batches
    of a smaller epoch in a partition that has seen a greater one. That holds without transactions too, and is all that
    we want of the id: so the client knows of it only while it asks.
    """
    ids = producer._txn_manager  # noqa: SLF001 - there is no other way to be fenced without transactions
    if name is not None:
        ids.transactional_id, ids.transaction_timeout_ms = name, NAME_TIMEOUT_MS
    await producer.start()
    ids.transactional_id = None


async def _stop(producer: FromAiokafka) -> None:
    stopping = asyncio.create_task(producer.stop())
    await asyncio.wait({stopping}, timeout=STOP_TIMEOUT_S)
    if not stopping.cancel() and not stopping.cancelled():
        stopping.exception()  # it is being thrown away because it failed: what it says about that is known
    await producer.client.close()


def _size(message: Message) -> int:
    return len(message.key or b"") + len(message.value or b"") + RECORD_OVERHEAD_BYTES
