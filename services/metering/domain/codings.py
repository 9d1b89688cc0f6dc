"""Content encodings of bodies, taken off step by step, so that a bomb is refused before it fills the memory.

Source: RFC 9110, section 8.4 (content codings), RFC 1952 (gzip), RFC 8878 and RFC 9659 (zstd). A body is one gzip
member or one zstd frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import zstandard

from services.metering.domain.bounds import BOUNDS, Bounds
from services.metering.errors import BadBody, BodyTooLarge, UnsupportedMedia

UNENCODED: Final = frozenset({"", "identity"})

_GZIP: Final = 16 + zlib.MAX_WBITS
_STEP_BYTES: Final = 1024 * 1024
_ZSTD_STEP_BYTES: Final = 128  # a block of four bytes can stand for 128 KiB: one step makes 4 MiB at most

Pieces = Iterator[bytes]


def plain_pieces(body: bytes, encoding: str, bounds: Bounds = BOUNDS) -> Pieces:
    """Yield the body without its content encoding, in pieces of at most 4 MiB.

    `encoding` is all that Content-Encoding says. Raises UnsupportedMedia for another encoding than gzip and zstd, or
    for two; BodyTooLarge past a bound; BadBody for what is damaged, cut short, or has something behind its end.
    """
    if encoding in UNENCODED:
        yield body
        return
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise UnsupportedMedia(f"content-encoding {encoding[:32]!r}: send {', '.join(_DECODERS)} or identity")
    allowed = min(bounds.plain_bytes, max(bounds.ratio_from_bytes, bounds.ratio * len(body)))
    size = 0
    for piece in decode(body, bounds):
        size += len(piece)
        if size > allowed:
            raise BodyTooLarge(f"{len(body)} bytes of {encoding} hold at most {allowed}; send several bodies")
        yield piece


def _gunzip(body: bytes, _: Bounds) -> Pieces:
    inflater = zlib.decompressobj(_GZIP)
    rest, piece = body, b"-"
    try:
        while piece:
            piece = inflater.decompress(rest, _STEP_BYTES)
            rest = inflater.unconsumed_tail
            yield piece
    except zlib.error as error:
        raise BadBody(f"the body is not gzip: {error}") from error
    _require_end(is_over=inflater.eof, behind=inflater.unused_data)


def _unzstd(body: bytes, bounds: Bounds) -> Pieces:
    inflater = zstandard.ZstdDecompressor(max_window_size=bounds.window_bytes).decompressobj()
    at = 0
    try:
        while at < len(body) and not inflater.eof:
            yield inflater.decompress(body[at : at + _ZSTD_STEP_BYTES])
            at += _ZSTD_STEP_BYTES
    except zstandard.ZstdError as error:
        raise BadBody(f"the body is not zstd with a window of at most {bounds.window_bytes} bytes: {error}") from error
    _require_end(is_over=inflater.eof, behind=inflater.unused_data + body[at:])


def _require_end(*, is_over: bool, behind: bytes) -> None:
    if not is_over or behind:
        raise BadBody("the body is cut short, or something stands behind its end")


_DECODERS: Final[Mapping[str, Callable[[bytes, Bounds], Pieces]]] = {"gzip": _gunzip, "zstd": _unzstd}
