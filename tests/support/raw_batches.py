"""Batches of records made byte by byte: what no well-behaved producer writes, and any broker takes."""

from __future__ import annotations

import gzip
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cramjam
import zstandard
from aiokafka import AIOKafkaProducer
from aiokafka.codec import lz4_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c, encode_varint

from libs.bus.kafka import KafkaAccess

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
RawHeaders = Sequence[tuple[bytes, bytes | None]]
STEP_BYTES = 1024 * 1024


def varint(number: int) -> bytes:
    written = bytearray()
    encode_varint(number, written.append)
    return bytes(written)


def part(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def raw_record(number: int, value: bytes | None, headers: RawHeaders = (), key: bytes | None = b"any") -> bytes:
    """A record at offset `number` of its batch."""
    named = b"".join(part(name) + part(content) for name, content in headers)
    body = b"\x00" + varint(0) + varint(number) + part(key) + part(value) + varint(len(headers)) + named
    return varint(len(body)) + body


def endless_headers(count: int) -> bytes:
    """One record with so many headers, each without name and value."""
    body = b"\x00" + varint(0) + varint(0) + part(b"any") + part(b"{}") + varint(count) + b"\x00\x01" * count
    return varint(len(body)) + body


def zeros(count: int) -> Iterable[bytes]:
    """One record whose value is `count` zeros, in pieces."""
    head = b"\x00" + varint(0) + varint(0) + part(b"any") + varint(count)
    yield varint(len(head) + count + 1) + head
    for _ in range(count // STEP_BYTES):
        yield bytes(STEP_BYTES)
    yield b"\x00"  # no headers


def squeezed(pieces: Iterable[bytes], codec: int) -> bytes:
    """The pieces under a codec, without holding them: gzip and zstd; small ones also snappy and lz4."""
    if codec == ZSTD:
        writer = zstandard.ZstdCompressor(level=1).compressobj()
        return b"".join(writer.compress(piece) for piece in pieces) + writer.flush()
    whole: dict[int, Callable[[bytes], Any]] = {
        NONE: bytes,
        GZIP: gzip.compress,
        SNAPPY: cramjam.snappy.compress_raw,
        LZ4: lz4_encode,  # blocks that stand alone: brokers take no others
    }
    return bytes(whole[codec](b"".join(pieces)))


def raw_batch(records: bytes, count: int, codec: int = NONE) -> bytes:
    """A batch of `count` records, given as they lie in it."""
    now_ms = time.time_ns() // 1_000_000
    behind = struct.pack(">hiqqqhii", codec, count - 1, now_ms, now_ms, -1, -1, -1, count) + records
    head = struct.pack(">ibI", -1, 2, calc_crc32c(behind))
    return struct.pack(">qi", 0, len(head) + len(behind)) + head + behind


@dataclass
class RawBuilder(BatchBuilder):  # type: ignore[misc]
    """What aiokafka's producer sends as it is."""

    raw: bytes

    def _set_producer_state(self, *_: object) -> None:
        """Nothing: the batch is of no producer."""

    def _build(self) -> bytes:
        return self.raw

    def size(self) -> int:
        return len(self.raw)

    def record_count(self) -> int:
        return 1

    def closed(self) -> bool:
        return True


async def write_raw(access: KafkaAccess, topic: str, partition: int, *batches: bytes) -> None:
    """Write the batches one after the other."""
    async with AIOKafkaProducer(**access.client_settings(), enable_idempotence=False) as producer:
        for raw in batches:
            await (await producer.send_batch(RawBuilder(raw), topic, partition=partition))
