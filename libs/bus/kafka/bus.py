"""One process's connection to Kafka: topics, offsets, one publisher, any number of subscribers and readers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaClient, AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateTopicsRequest

from libs.bus.kafka.access import KafkaAccess, connecting
from libs.bus.kafka.closing import put_away
from libs.bus.kafka.faults import denied, in_our_words, show_no_denial
from libs.bus.kafka.groups import commit_marks, fetch_committed, fetch_marks, set_committed
from libs.bus.kafka.metadata import TopicsRequest
from libs.bus.kafka.publisher import KafkaPublisher
from libs.bus.kafka.reader import KafkaReader
from libs.bus.kafka.subscriber import KafkaSubscriber
from libs.bus.marks import Mark
from libs.bus.ports import Committed, Publisher, Reader, Subscriber, Voice
from libs.bus.records import TopicPartition
from libs.bus.topics import missing_topics
from libs.runtime.clock import Clock, SystemClock
from libs.runtime.errors import Broken, Unavailable
from libs.schemas.topics import TopicSpec, dead_letter_spec

REQUEST_TIMEOUT_MS: Final = 8_000  # a broker that does not answer for this long is down for whoever waits
PARTITIONS_KEPT_S: Final = 60.0  # how long a partition count is believed; it changes once in years
REPLICATION: Final = -1  # the broker's default.replication.factor: one embedded, three in a cluster
_TOPIC_EXISTS: Final = 36
_UNKNOWN_TOPIC: Final = 3
_DENIED_TOPIC: Final = 29
_TOPICS_VISIBLE_TRIES: Final = 50  # of VISIBLE_WAIT_S each: five seconds for the brokers to learn of a new topic
VISIBLE_WAIT_S: Final = 0.1


class KafkaBus:
    """The bus on Kafka. `client_id` names the process in the broker's logs and quotas."""

    def __init__(self, access: KafkaAccess, *, client_id: str, clock: Clock | None = None) -> None:
        """Remember where the brokers are and the login; `start` connects."""
        self._access = access
        self._client_id = client_id
        self._clock = clock or SystemClock()
        self._running = AsyncExitStack()
        self._client: Any = None
        self._offsets: Any = None
        self._counts: dict[str, tuple[float, int]] = {}
        self._voices: list[KafkaPublisher] = []
        self._publisher = KafkaPublisher(access, client_id=client_id, partitions=self.partitions)

    async def start(self) -> None:
        """Connect; raises Unavailable while the broker does not answer, Broken where it refuses the login."""
        show_no_denial()
        address = self._access.client_settings() | {"client_id": self._client_id}
        timeout = {"request_timeout_ms": REQUEST_TIMEOUT_MS}
        client = AIOKafkaClient(**address, **timeout)
        offsets = AIOKafkaConsumer(**address, **timeout, isolation_level="read_committed", auto_offset_reset="none")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(client.close)
            stack.push_async_callback(put_away, offsets)
            async with connecting(self._access, "connecting"):
                await client.bootstrap()
                await offsets.start()
            stack.push_async_callback(self._publisher.stop)
            stack.push_async_callback(self._stop_voices)
            self._running = stack.pop_all()
        self._client, self._offsets = client, offsets

    async def stop(self) -> None:
        """Flush what is being published and disconnect."""
        await self._running.aclose()

    @property
    def publisher(self) -> Publisher:
        """The process's one publisher: idempotent, all in-sync replicas, one batch in flight per partition."""
        return self._publisher

    def voice(self, name: str) -> Voice:
        """Return a publisher under `name`, fenced by the broker: see `libs.bus.ports.Voice`."""
        voice = KafkaPublisher(self._access, client_id=self._client_id, partitions=self.partitions, name=name)
        self._voices.append(voice)
        return voice

    async def _stop_voices(self) -> None:
        for voice in self._voices:
            await voice.stop()

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create those that do not exist, with their dead letter topics, and wait until the broker knows them."""
        wanted = {spec.name: spec for spec in specs}
        wanted |= {spec.dead_letter_topic: dead_letter_spec(spec) for spec in specs if spec.dead_letter}
        with in_our_words("creating topics"):
            missing = wanted.keys() - (await self.topic_ids(wanted)).keys()
            if missing:
                await self._create([wanted[name] for name in sorted(missing)])
        for _ in range(_TOPICS_VISIBLE_TRIES):
            if (await self.topic_ids(wanted)).keys() == wanted.keys():
                return
            await asyncio.sleep(VISIBLE_WAIT_S)
        raise Unavailable(f"the broker does not show the topics {sorted(wanted)} yet")

    async def require_topics(self, names: Collection[str]) -> None:
        """Raise Unavailable where one of them does not exist, Broken where we may neither read nor write it."""
        missing = sorted(set(names) - (await self.topic_ids(names)).keys())
        if missing:
            raise Unavailable(missing_topics(missing))

    async def _create(self, specs: Sequence[TopicSpec]) -> None:
        wanted: list[tuple[Any, ...]] = [
            (spec.name, spec.partitions, REPLICATION, [], list(spec.kafka_config().items())) for spec in specs
        ]
        request = CreateTopicsRequest(create_topic_requests=wanted, timeout=REQUEST_TIMEOUT_MS, validate_only=False)
        answer = await self._client.send(self._client.get_random_node(), request)
        for name, code, *detail in answer.topic_errors:
            if code not in {0, _TOPIC_EXISTS}:
                raise Broken(f"topic {name} cannot be created: {for_code(code).__name__} {detail}")

    async def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` has; raises Unavailable where it does not exist (yet)."""
        seen_at, count = self._counts.get(topic, (0.0, 0))
        if count and self._clock.monotonic() - seen_at < PARTITIONS_KEPT_S:
            return count
        for found in await self._describe([topic]):
            self._counts[topic] = (self._clock.monotonic(), len(found["partitions"]))
            return len(found["partitions"])
        raise Unavailable(f"topic {topic} does not exist yet")

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, UUID]:
        """Return the broker's id of each topic; absent topics are left out."""
        return {found["topic"]: found["topic_id"] for found in await self._describe(topics)}

    async def _describe(self, topics: Collection[str]) -> list[dict[str, Any]]:
        with in_our_words("asking for topics"):
            answer = await self._client.send(self._client.get_random_node(), TopicsRequest(sorted(topics)))
        found: list[dict[str, Any]] = answer.to_object()["topics"]
        wrong = [one for one in found if one["error_code"] not in {0, _UNKNOWN_TOPIC}]
        forbidden = [one["topic"] for one in wrong if one["error_code"] == _DENIED_TOPIC]
        if forbidden:
            raise denied(f"topic {', '.join(forbidden)}", forbidden)
        if wrong:
            raise Unavailable(f"topic {wrong[0]['topic']}: {for_code(wrong[0]['error_code']).__name__}")
        return [one for one in found if one["error_code"] == 0]

    async def start_offsets(self, topic: str) -> Mapping[int, int]:
        """Return the first offset that each partition still holds."""
        with in_our_words(f"asking where {topic} starts"):
            found = await self._offsets.beginning_offsets(await self._all_of(topic))
        return {one.partition: offset for one, offset in found.items()}

    async def end_offsets(self, topic: str) -> Mapping[int, int]:
        """Return each partition's read_committed end."""
        with in_our_words(f"asking where {topic} ends"):
            found = await self._offsets.end_offsets(await self._all_of(topic))
        return {one.partition: offset for one, offset in found.items()}

    async def _all_of(self, topic: str) -> list[KafkaPartition]:
        return [KafkaPartition(topic, number) for number in range(await self.partitions(topic))]

    async def marks(self, group: str) -> Mapping[TopicPartition, Mark]:
        """Return how far the store behind `group` has said to be."""
        with in_our_words(f"asking for the marks of {group}"):
            return await fetch_marks(self._client, group)

    async def mark(self, group: str, marks: Mapping[TopicPartition, Mark]) -> None:
        """Leave marks for `group`, which has no members."""
        with in_our_words(f"leaving marks for {group}"):
            await commit_marks(self._client, group, marks)

    async def committed(self, group: str, topic: str) -> Mapping[int, Committed]:
        """Return how far `group`, of a consumer without a store, is in each partition that it has committed."""
        numbers = range(await self.partitions(topic))
        with in_our_words(f"asking how far {group} is"):
            return await fetch_committed(self._client, group, topic, numbers)

    async def commit_for(self, group: str, topic: str, marks: Mapping[int, Committed]) -> None:
        """Set how far `group` is: an operator's step. Raises GroupInUse while the group has members."""
        with in_our_words(f"setting how far {group} is"):
            await set_committed(self._client, group, topic, marks)

    def subscriber(self, topics: Collection[str], *, group: str, instance: str, max_records: int) -> Subscriber:
        """Return a new member of `group` with the static id `instance`."""
        return KafkaSubscriber(self._access, topics, group=group, instance=instance, max_records=max_records)

    def reader(self, topic: str) -> Reader:
        """Return a new reader of the whole topic."""
        return KafkaReader(self._access, topic, self)
