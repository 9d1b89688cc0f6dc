"""JSON as it is safe to read: an object says a name once, numbers are numbers, nesting ends. No decoder may differ.

Where an object says a name twice, decoders take the first or the last of the two: a proxy could have checked the other.
Source: RFC 8259, and RFC 7493 (I-JSON) for names that are unique in their object.
"""

from __future__ import annotations

from typing import Final

import jiter

from libs.runtime.printable import printable

_MAX_WHY_CHARS: Final = 200  # it may quote a name, and that is the sender's


class NotStrictJson(ValueError):
    """The text is no JSON, or only some decoders take it, or they differ in what they take from it."""


def strict_json(text: bytes) -> object:
    """Return what UTF-8 `text` holds; raise NotStrictJson where it says a name twice, NaN or Infinity, or is no JSON.

    Nor is text taken that nests deeper than some 200, has half a surrogate pair or an integer of more than 4300 digits.
    """
    try:
        return jiter.from_json(text, allow_inf_nan=False, cache_mode="none", catch_duplicate_keys=True)
    except ValueError as error:
        raise NotStrictJson(_why(error)) from error


def require_strict(text: bytes) -> None:
    """Raise what `strict_json` raises. For text that is decoded otherwise afterwards: makes no float of a number."""
    try:
        jiter.from_json(
            text, allow_inf_nan=False, cache_mode="none", catch_duplicate_keys=True, float_mode="lossless-float"
        )
    except ValueError as error:
        raise NotStrictJson(_why(error)) from error


def _why(error: ValueError) -> str:
    return f"not JSON, or a name is said twice: {printable(str(error)[:_MAX_WHY_CHARS])}"
