"""What a compressed batch holds, taken out under a bound: a bomb is refused before it fills the memory.

aiokafka inflates a batch whole, whatever it makes of it. Source: Kafka's record batch format, attributes 0-2; KIP-57
(lz4 frames); the framing of xerial's snappy, which Java producers write.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import cramjam
import zstandard

BATCH_BYTES: Final = 16 * 1024 * 1024  # of one batch, inflated: twice the largest record of any topic

_STEP_BYTES: Final = 256 * 1024
_WINDOW_BYTES: Final = 128 * 1024 * 1024  # of zstd at its highest level; only what is written of it becomes resident
_USUAL_ROOM_BYTES: Final = 16 * 1024
_USUAL_RATIO: Final = 10  # to have room for the bound at once costs a small batch more than its records
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD_BYTES: Final = 16


class NotInflated(Exception):
    """The batch is damaged, or holds more than the bound; the text says which."""


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def inflate(data: bytes, codec: int, bound: int = BATCH_BYTES) -> bytes:
    """Return what `data` holds under Kafka's `codec`; raise NotInflated. Takes about twice the bound at most."""
    name, inflater = _CODECS.get(codec, (f"codec {codec}", None))
    if inflater is None:
        raise NotInflated(f"{name} is not known")
    try:
        return inflater(data, bound)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, cramjam.DecompressionError, struct.error) as error:
        raise NotInflated(f"{len(data)} bytes of {name} are damaged, or hold more than {bound}: {error}") from error


def _gzip(data: bytes, bound: int) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as reader:
        return _read(reader, len(data), bound)


def _zstd(data: bytes, bound: int) -> bytes:
    inflater = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    with inflater.stream_reader(data, read_across_frames=True) as reader:
        return _read(reader, len(data), bound)


def _read(reader: _Reader, sent: int, bound: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := reader.read(_STEP_BYTES):
        size += len(piece)
        if size > bound:
            raise NotInflated(f"{sent} compressed bytes hold more than {bound}")
        pieces.append(piece)
    return b"".join(pieces)


def _lz4(data: bytes, bound: int) -> bytes:
    try:
        return _lz4_into(data, min(bound, _USUAL_ROOM_BYTES + _USUAL_RATIO * len(data)))
    except cramjam.DecompressionError:
        return _lz4_into(data, bound)


def _lz4_into(data: bytes, size: int) -> bytes:
    room = bytearray(size)
    return bytes(memoryview(room)[: cramjam.lz4.decompress_into(data, room)])


def _snappy(data: bytes, bound: int) -> bytes:
    blocks, size = _blocks(data), 0
    for block in blocks:
        size += cramjam.snappy.decompress_raw_len(block)
        if size > bound:
            raise NotInflated(f"{len(data)} compressed bytes hold more than {bound}")
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _blocks(data: bytes) -> list[bytes]:
    """Return the blocks of xerial's framing, or all as one block."""
    if not data.startswith(_XERIAL):
        return [data]
    blocks: list[bytes] = []
    at = _XERIAL_HEAD_BYTES
    while at < len(data):
        (length,) = struct.unpack_from("!i", data, at)
        if length <= 0:
            raise NotInflated("a block of snappy says that it has no bytes")
        blocks.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return blocks


_CODECS: Final[Mapping[int, tuple[str, Callable[[bytes, int], bytes]]]] = {
    1: ("gzip", _gzip),
    2: ("snappy", _snappy),
    3: ("lz4", _lz4),
    4: ("zstd", _zstd),
}
