"""Records of a batch read with care, where aiokafka's parser raises or would take memory: slower, and it passes over.

Source: Kafka's record format v2 (DefaultRecord.java): lengths are zigzag varints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aiokafka.record.util import decode_varint

from libs.bus.records import MAX_HEADERS

ReadHeaders = list[tuple[str | None, bytes | None]]
"""Headers as they go through aiokafka. The last may have None for its name, which no record can say: the flaw."""

ILL_NAMED: Final = b"the name of a header is not UTF-8"
TOO_MANY: Final = f"a record has at most {MAX_HEADERS} headers".encode()


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """What aiokafka asks of a record. `offset` is that in the log, `timestamp` in milliseconds since 1970 UTC."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: ReadHeaders
    checksum: None = None


@dataclass(frozen=True, slots=True)
class Stamps:
    """What a batch says once for its records: first offset, first time, and the append time where the broker set it."""

    base_offset: int
    first_ms: int
    appended_at_ms: int | None

    def time_of(self, delta_ms: int) -> int:
        """Return a record's time."""
        return self.first_ms + delta_ms if self.appended_at_ms is None else self.appended_at_ms


def records_in(plain: bytes, stamps: Stamps) -> Iterator[ReadRecord]:
    """Yield the records of an inflated batch; raise IndexError or ValueError where it does not hold together.

    Names that are not UTF-8 are escaped, headers past MAX_HEADERS are left out, and either is said as a flaw.
    """
    buffer, at = bytearray(plain), 0
    while at < len(buffer):
        length, start = decode_varint(buffer, at)
        if length <= 0 or start + length > len(buffer):
            raise ValueError(f"a record of {length} bytes does not fit its batch")
        yield _record(buffer, start, stamps)
        at = start + length


def _record(buffer: bytearray, at: int, stamps: Stamps) -> ReadRecord:
    delta_ms, at = decode_varint(buffer, at + 1)  # behind attributes, which nobody uses
    offset_delta, at = decode_varint(buffer, at)
    key, at = _part(buffer, at)
    value, at = _part(buffer, at)
    headers = _headers(buffer, at)
    stamp_type = int(stamps.appended_at_ms is not None)
    return ReadRecord(stamps.base_offset + offset_delta, stamps.time_of(delta_ms), stamp_type, key, value, headers)


def _headers(buffer: bytearray, at: int) -> ReadHeaders:
    count, at = decode_varint(buffer, at)
    if count > MAX_HEADERS:
        return [(None, TOO_MANY)]
    headers: ReadHeaders = []
    is_flawed = False
    for _ in range(count):
        name, at = _part(buffer, at)
        value, at = _part(buffer, at)
        text = (name or b"").decode("utf-8", "backslashreplace")
        is_flawed = is_flawed or text.encode("utf-8") != (name or b"")
        headers.append((text, value))
    return [*headers, (None, ILL_NAMED)] if is_flawed else headers


def _part(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    if length < 0:
        return None, at
    if at + length > len(buffer):
        raise ValueError(f"a part of {length} bytes does not fit its batch")
    return bytes(buffer[at : at + length]), at + length
