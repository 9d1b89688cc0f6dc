"""The records of usage-shards: a version byte, then the MessagePack list of events of one partition.

Version 1 is the field order of UsageEvent; later fields are appended with a default, so that old records stay readable.
A record holds events of one partition only and stays under the bound of its topic. Those of usage-overflow hold events
of one tenant, for any partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec

from services.metering.domain.bounds import BOUNDS
from services.metering.domain.events import UsageEvent
from services.metering.domain.identity import partition_of, shard_of
from services.metering.errors import BadShardRecord

VERSION: Final = b"\x01"
MAX_RECORD_BYTES: Final = 524_288  # a quarter of the topic's bound: a fetch then always makes progress in small steps
MAX_LOT_EVENTS: Final = 200  # that go from usage-overflow at once: what the slowest owners may have in front of them
MAX_LOT_BYTES: Final = 131_072
_ARRAY32: Final = b"\xdd"  # MessagePack: an array whose length has four bytes

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[list[UsageEvent]]] = msgspec.msgpack.Decoder(
    Annotated[list[UsageEvent], msgspec.Meta(max_length=BOUNDS.events)]
)


def decode(value: bytes | None) -> list[UsageEvent]:
    """Return the events of a record's value; raise BadShardRecord for anything else."""
    if value is None or value[:1] != VERSION:
        raise BadShardRecord("a record of usage-shards starts with the version byte 1")
    try:
        return _DECODER.decode(memoryview(value)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadShardRecord(f"the record does not hold a list of events: {error}") from error


def encode(events: Iterable[UsageEvent], partitions: int) -> list[tuple[int, bytes]]:
    """Return (partition, record value) for these events: one record per partition, more where it would be too large."""
    by_partition: dict[int, list[bytes]] = defaultdict(list)
    for event in events:
        by_partition[partition_of(shard_of(event.key), partitions)].append(_ENCODER.encode(event))
    return [(partition, _value(chunk)) for partition, parts in sorted(by_partition.items()) for chunk in _chunks(parts)]


def encode_whole(events: Iterable[UsageEvent]) -> list[bytes]:
    """Return the values of records of usage-overflow: these events in their order, in lots that are passed on whole."""
    parts = [_ENCODER.encode(event) for event in events]
    return [_value(chunk) for chunk in _chunks(parts, MAX_LOT_BYTES, MAX_LOT_EVENTS)]


def _chunks(parts: list[bytes], most_bytes: int = MAX_RECORD_BYTES, most: int = BOUNDS.events) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for part in parts:
        if chunk and (size + len(part) > most_bytes or len(chunk) == most):
            yield chunk
            chunk, size = [], 0
        chunk.append(part)
        size += len(part)
    yield chunk


def _value(parts: list[bytes]) -> bytes:
    return b"".join((VERSION, _ARRAY32, len(parts).to_bytes(4, "big"), *parts))
