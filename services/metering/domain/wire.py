"""The wire format of Protocol Buffers, walked without taking memory for what is in it.

A decoder makes a structure of a hundred bytes from a message of two; so messages that hold many are walked here, and
only their parts, whose size is bounded, are given to it.

Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.metering.domain.bounds import BOUNDS, Bounds, Budget
from services.metering.errors import BadBody

Place = tuple[int, int]
"""Where a part begins and ends in the whole."""

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_LAST_SHIFT: Final = 63


class Walk:
    """Walks the messages of one body, with one budget of steps for all of them."""

    def __init__(self, body: bytes, bounds: Bounds = BOUNDS) -> None:
        """Start anywhere in `body`."""
        self._body = body
        self._steps = Budget(bounds.parts, "parts around its spans")

    def parts(self, within: Place, wanted: int) -> Iterator[Place]:
        """Yield where each `wanted` field (a submessage) of the message at `within` lies; pass over all others.

        Raises BadBody where it is no message, BodyTooLarge past the steps that are left.
        """
        at, end = within
        while at < end:
            self._steps.take(1)
            key, at = self._varint(at, end)
            number, kind = key >> 3, key & 7
            if kind == _DELIMITED:
                size, start = self._varint(at, end)
                at = start + size
            else:
                at = self._behind(kind, at, end)
            if at > end or number == 0:
                raise BadBody("the body is not an OTLP message: a field has no number, or reaches over its message")
            if kind == _DELIMITED and number == wanted:
                yield start, at

    def joined(self, within: Place, wanted: int) -> bytes:
        """Return the one `wanted` submessage; where it is said again, what a decoder makes of it: both, one by one."""
        return b"".join(self._body[start:end] for start, end in self.parts(within, wanted))

    def _behind(self, kind: int, at: int, end: int) -> int:
        if kind == _VARINT:
            return self._varint(at, end)[1]
        if kind not in _SIZES:
            raise BadBody("the body is not an OTLP message: it has a field of no known kind")
        return at + _SIZES[kind]

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift <= _LAST_SHIFT:
            byte = self._body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more bytes follow
                return value, at
            shift += 7
        raise BadBody("the body is not an OTLP message: a number is cut short")
