"""Bodies as they come over HTTP: inflated within a bound, decoded without losing digits."""

from __future__ import annotations

import zlib
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from services.metering.errors import BadBody, BodyTooLarge, UnsupportedMedia

MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # as sent: two full batches of an OpenTelemetry Collector
MAX_INFLATED_BYTES: Final = 32 * 1024 * 1024  # after inflating: ten times is what telemetry shrinks by at best

_GZIP: Final = 16 + zlib.MAX_WBITS


def decimal_or_text(written: str) -> Decimal | str:
    """Return the number exactly, or the text itself where its exponent is beyond Decimal: no meter takes that."""
    try:
        return Decimal(written)
    except InvalidOperation:  # no ValueError: msgspec would let it through, and one number would cost the whole request
        return written


_JSON: Final = msgspec.json.Decoder(float_hook=decimal_or_text)


def inflate(body: bytes, encoding: str) -> bytes:
    """Return the body without its content encoding, at most MAX_INFLATED_BYTES of it.

    Raises UnsupportedMedia for another encoding than gzip, BodyTooLarge over the bound, BadBody for what is no gzip.
    """
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise UnsupportedMedia(f"content-encoding {encoding[:32]!r}: send gzip or identity")
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(body, MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise BadBody(f"the body is not gzip: {error}") from error
    if inflater.unconsumed_tail:
        raise BodyTooLarge(f"the body inflates to more than {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof or inflater.unused_data:
        raise BadBody("the body is cut short, or something stands behind its end")
    return plain


def json_of(body: bytes) -> object:
    """Return what the JSON text holds, numbers as int or Decimal; raise BadBody where it is none."""
    try:
        return _JSON.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise BadBody(f"the body is not JSON: {error}") from error
