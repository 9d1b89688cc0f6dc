"""Batches as aiokafka reads them, with what a hostile writer may put into one held under bounds.

aiokafka's consumer dies of a header name that is not UTF-8, and inflates a batch whole. So its splitter of batches is
replaced by ours: it inflates under a bound, hands plain batches to the same C parser, and where that parser raises it
reads with care instead. What could not be read whole comes as a record that says so (`Record.unread`): one for its
record, or one for a batch, in place of the batch's last record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final

import aiokafka.consumer.fetcher
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy

from libs.bus.kafka.inflating import NotInflated, inflate
from libs.bus.kafka.parsing import TOO_MANY, ReadRecord, Stamps, records_in
from libs.bus.kafka.untyped import FromAiokafka
from libs.bus.records import MAX_HEADERS, Record
from libs.signing.digests import sha256_hex

FETCH_PLAIN_BYTES: Final = 4 * 1024 * 1024  # of one partition and one fetch: past it the rest is fetched again
CAREFUL_FROM_BYTES: Final = 1024 * 1024  # as empty headers, less than this costs some forty megabytes for a moment

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")  # up to the count of records
_ATTRIBUTES_AT: Final = 21
_CODEC: Final = 0x07


class Batches(_MemoryRecordsPy):
    """The batches of one partition in one answer of the broker: ends early once much has been inflated."""

    def __init__(self, fetched: bytes) -> None:
        """Take the bytes as the broker sent them."""
        super().__init__(fetched)
        self._plain_bytes = 0

    def has_next(self) -> bool:
        """Return whether a batch follows; aiokafka asks the broker again for what is left out."""
        return self._plain_bytes < FETCH_PLAIN_BYTES and bool(super().has_next())

    def next_batch(self) -> FromAiokafka:
        """Return the next batch."""
        raw = self._next_slice
        batch = super().next_batch()
        return Batch(raw, batch, self._note) if isinstance(batch, DefaultRecordBatch) else batch

    def _note(self, plain_bytes: int) -> None:
        self._plain_bytes += plain_bytes


class Batch:
    """One batch, for aiokafka's loop: what it asks of a batch is asked of its own parser."""

    def __init__(self, raw: memoryview, batch: FromAiokafka, note: FromAiokafka) -> None:
        """Wrap aiokafka's `batch` of these bytes; `note` is told how many were inflated."""
        self._raw = raw
        self._batch = batch
        self._note = note

    def __getattr__(self, name: str) -> FromAiokafka:
        """Return what aiokafka's batch has."""
        return getattr(self._batch, name)

    def __next__(self) -> FromAiokafka:
        """Return the marker of a control batch: only brokers write these, and plain."""
        return next(self._batch)

    def __iter__(self) -> Iterator[FromAiokafka]:
        """Yield the records; what cannot be read comes as one that is not read."""
        try:
            yield from self._records(self._plain())
        except (NotInflated, ValueError, IndexError) as error:
            yield self._unread(str(error))

    def _records(self, plain: bytes) -> Iterator[FromAiokafka]:
        if len(plain) >= CAREFUL_FROM_BYTES:
            yield from self._carefully(plain)
            return
        taken = 0
        try:
            for record in self._quickly(plain):
                taken += 1
                yield record if len(record.headers) <= MAX_HEADERS else _without_headers(record)
        except (UnicodeDecodeError, CorruptRecordException):  # what was yielded is good
            yield from islice(self._carefully(plain), taken, None)

    def _plain(self) -> bytes:
        """Return the records, inflated; raise NotInflated."""
        data = bytes(self._raw[_HEAD.size :])
        codec = self._batch.compression_type
        if not codec:
            return data
        plain = inflate(data, codec)
        self._note(len(plain))
        return plain

    def _quickly(self, plain: bytes) -> FromAiokafka:
        """Return aiokafka's parser of the records; raises UnicodeDecodeError or CorruptRecordException on its way."""
        if not self._batch.compression_type:
            return self._batch
        head = bytearray(self._raw[: _HEAD.size])
        (attributes,) = struct.unpack_from(">h", head, _ATTRIBUTES_AT)
        struct.pack_into(">h", head, _ATTRIBUTES_AT, attributes & ~_CODEC)
        return DefaultRecordBatch(bytes(head) + plain)

    def _carefully(self, plain: bytes) -> Iterator[ReadRecord]:
        batch = self._batch
        appended = batch.max_timestamp if batch.timestamp_type else None
        return records_in(plain, Stamps(batch.base_offset, batch.first_timestamp, appended))

    def _unread(self, why: str) -> ReadRecord:
        batch = self._batch
        first, last = batch.base_offset, batch.next_offset - 1
        cause = f"offsets {first} to {last}, one batch: {why}; sha256 {sha256_hex(bytes(self._raw[_ATTRIBUTES_AT:]))}"
        stamp_type = batch.timestamp_type
        return ReadRecord(last, batch.max_timestamp, stamp_type, None, None, [(None, cause.encode())])


def _without_headers(record: FromAiokafka) -> ReadRecord:
    return ReadRecord(
        record.offset, record.timestamp, record.timestamp_type, record.key, record.value, [(None, TOO_MANY)]
    )


class Records(PartitionRecords):
    """The records of one partition in one answer, made into our form at once: aiokafka's own took a third of a read."""

    def __iter__(self) -> FromAiokafka:
        """Return what yields the records that are left."""
        return self._records_iterator

    def _consumer_record(self, source: KafkaPartition, read: FromAiokafka) -> Record:
        headers, unread = tuple(read.headers), None
        if headers and headers[-1][0] is None:  # what is said above of a record that could not be read whole
            headers, unread = headers[:-1], headers[-1][1].decode("utf-8")
        return Record(
            source.topic, source.partition, read.offset, read.key, read.value, headers, read.timestamp, unread
        )


def guard_consumers() -> None:
    """Have every consumer of this process read so. aiokafka offers no other place: its fetcher names these classes."""
    aiokafka.consumer.fetcher.MemoryRecords = Batches
    aiokafka.consumer.fetcher.PartitionRecords = Records
