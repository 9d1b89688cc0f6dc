"""Reads a whole topic, every partition from the start, without a group: for tables that live in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from libs.bus.kafka.access import KafkaAccess, connecting
from libs.bus.kafka.batches import guard_consumers
from libs.bus.kafka.closing import put_away
from libs.bus.kafka.faults import in_our_words
from libs.bus.kafka.subscriber import (
    FETCH_BYTES,
    FETCH_WAIT_MS,
    PARTITION_FETCH_BYTES,
    POLL_WAIT_MS,
    last_answers,
    refuse_dead,
)
from libs.bus.kafka.untyped import FromAiokafka
from libs.bus.ports import Bus, Fetched, Seen
from libs.bus.records import TopicPartition

MAX_RECORDS: Final = 5_000  # of one poll: about a megabyte of tenants


class KafkaReader:
    """See `libs.bus.ports.Reader`."""

    def __init__(self, access: KafkaAccess, topic: str, bus: Bus) -> None:
        """Remember what to read; `start` connects."""
        self._access = access
        self._topic = topic
        self._bus = bus
        self._consumer: FromAiokafka = None

    async def start(self, positions: Mapping[int, int] | None = None) -> Mapping[int, int]:
        """Begin at `positions`, elsewhere at the log's start, and return each partition's read_committed end."""
        ends = await self._bus.end_offsets(self._topic)
        starts = {**await self._bus.start_offsets(self._topic), **(positions or {})}
        guard_consumers()
        self._consumer = AIOKafkaConsumer(
            **self._access.client_settings(),
            client_id=f"reader.{self._topic}",
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        )
        async with connecting(self._access, f"reading {self._topic}"):
            await self._consumer.start()
        self._consumer.assign([KafkaPartition(self._topic, number) for number in starts])
        for number, offset in starts.items():
            self._consumer.seek(KafkaPartition(self._topic, number), offset)
        return ends

    async def poll(self) -> Fetched:
        """Return the next records, none after a short wait."""
        refuse_dead(self._consumer)
        with in_our_words(f"reading {self._topic}"):
            batches = await self._consumer.getmany(timeout_ms=POLL_WAIT_MS, max_records=MAX_RECORDS)
            positions = {
                TopicPartition(one.topic, one.partition): await self._consumer.position(one)
                for one in self._consumer.assignment()
            }
        records = [one for source in sorted(batches) for one in batches[source]]
        return Fetched(records, positions)

    def seen(self) -> Mapping[TopicPartition, Seen]:
        """Return the last answer for every partition that had one."""
        return last_answers(self._consumer)

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await put_away(self._consumer)
