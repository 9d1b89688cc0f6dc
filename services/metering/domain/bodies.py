"""Bodies as they come: without their encoding, JSON read strictly and without losing digits, all within BOUNDS.

Source: RFC 8259 (JSON), and RFC 7493 (I-JSON) for names: unique in their object.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from libs.runtime import strict_json
from services.metering.domain.bounds import BOUNDS, Bounds
from services.metering.domain.codings import plain_pieces
from services.metering.errors import BadBody, BodyTooLarge

_OTHERS: Final = bytes(set(range(256)) - set(b'",[{'))
_STEP_BYTES: Final = 262_144  # of text that is taken apart at once


def decimal_or_text(written: str) -> Decimal | str:
    """Return the number exactly, or the text itself where its exponent is beyond Decimal: no meter takes that."""
    try:
        return Decimal(written)
    except InvalidOperation:  # no ValueError: msgspec would let it through, and one number would cost the whole request
        return written


_JSON: Final = msgspec.json.Decoder(float_hook=decimal_or_text)


def inflate(body: bytes, encoding: str) -> bytes:
    """Return the body without its content encoding; raises what `plain_pieces` raises."""
    return b"".join(plain_pieces(body, encoding))


def json_of(body: bytes) -> object:
    """Return what the JSON text holds, numbers as int or Decimal; raise what `require_strict` raises."""
    require_strict(body)
    try:
        return _JSON.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise BadBody(f"the body is not JSON: {error}") from error


def require_strict(body: bytes, bounds: Bounds = BOUNDS) -> None:
    """Raise BadBody unless the text is JSON in which each object has a name once; BodyTooLarge past its bounds.

    Decoders otherwise take the first or the last of two: a proxy could have checked the other one. Costs about as much
    as decoding does. Text that nests deeper than some 200, NaN and Infinity are refused too.
    """
    if _separators(body) > bounds.values and _values(body) > bounds.values:
        raise BodyTooLarge(f"a request holds at most {bounds.values} JSON values; send several")
    try:
        strict_json.require_strict(body)
    except strict_json.NotStrictJson as error:
        raise BadBody(f"the body is {error}") from error


def _separators(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _values(text: bytes) -> int:
    """Return how many values the text holds, give or take one: what separates them, outside of strings.

    Takes no memory for them, whatever the text is.
    """
    marks = text.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, delete=_OTHERS)
    count = inside = 0
    for start in range(0, len(marks), _STEP_BYTES):
        parts = marks[start : start + _STEP_BYTES].split(b'"')
        count += sum(map(len, parts[inside::2]))
        inside ^= (len(parts) - 1) & 1
    return count
