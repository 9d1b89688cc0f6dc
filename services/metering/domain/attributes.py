"""Attributes as metering carries them: flat names, scalars, numbers without loss, all within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from libs.schemas.values import BadNumber, decimal_of, plain
from services.metering.domain.events import MAX_ATTRIBUTES, MAX_NAME_CHARS, MAX_TEXT_CHARS, Attributes, Scalar
from services.metering.errors import BadAttributes

MAX_EVENT_CHARS: Final = 16_384  # names and texts of one event: at most 64 KiB encoded, so a record holds many events
MAX_DEPTH: Final = 8

_I64: Final = range(-(2**63), 2**63)
_MAX_NUMBER_CHARS: Final = 64
_JSON: Final = msgspec.json.Encoder(order="deterministic")


def number(value: int | Decimal) -> Scalar:
    """Return a number without loss: an integer of 64 bits, else its one plain text, or text that no meter takes.

    The same number written in two ways (5, 5.0, 0.5e1) gives the same result.
    """
    try:
        exact = decimal_of(value)
    except BadNumber:
        return str(value)[:_MAX_NUMBER_CHARS] if isinstance(value, Decimal) else hex(value)[:_MAX_NUMBER_CHARS]
    text = plain(exact)
    whole = int(exact)
    return whole if exact == whole and whole in _I64 else text


def scalar(value: object) -> Scalar:
    """Return `value` as a scalar; what is no scalar becomes its canonical JSON text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal):
        return number(value)
    text = value if isinstance(value, str) else _JSON.encode(value).decode()
    if len(text) > MAX_TEXT_CHARS:
        raise BadAttributes(f"an attribute has at most {MAX_TEXT_CHARS} characters")
    return text


def flat(fields: Mapping[str, object]) -> Attributes:
    """Return nested JSON objects as dotted names; raise BadAttributes where two fields claim one name."""
    return collect(_leaves(fields, "", 1))


def collect(pairs: Iterable[tuple[str, object]]) -> Attributes:
    """Return the pairs as attributes within all bounds; raise BadAttributes naming the first bound that is passed."""
    attributes: Attributes = {}
    chars = 0
    for name, value in pairs:
        if not name or len(name) > MAX_NAME_CHARS:
            raise BadAttributes(f"an attribute's name has 1 to {MAX_NAME_CHARS} characters")
        if name in attributes:
            raise BadAttributes(f"two attributes claim the name {name!r}")
        taken = scalar(value)
        attributes[name] = taken
        chars += len(name) + (len(taken) if isinstance(taken, str) else 0)
        if len(attributes) > MAX_ATTRIBUTES or chars > MAX_EVENT_CHARS:
            raise BadAttributes(f"an event has at most {MAX_ATTRIBUTES} attributes of {MAX_EVENT_CHARS} characters")
    return attributes


def _leaves(fields: Mapping[str, object], prefix: str, depth: int) -> Iterable[tuple[str, object]]:
    if depth > MAX_DEPTH:
        raise BadAttributes(f"the fields of an event nest at most {MAX_DEPTH} deep")
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.", depth + 1)
        else:
            yield prefix + name, value
