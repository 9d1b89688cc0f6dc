"""Canonical JSON: one byte sequence per value (RFC 8785, the subset without floating point).

Money and quantities travel as strings or integers, so floats are refused rather than formatted.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from libs.signing.errors import NotCanonical
from libs.signing.reader import SAFE_INTEGER_MAX

CanonicalValue: TypeAlias = "str | int | bool | Sequence[CanonicalValue] | Mapping[str, CanonicalValue] | None"


def canonical_bytes(value: CanonicalValue) -> bytes:
    """The RFC 8785 form of `value` in UTF-8: keys sorted by UTF-16 code units, no white space, shortest escapes.

    Raises `NotCanonical` for floats, integers past 2**53 - 1, lone surrogates, keys that are not strings, other types.
    """
    # Of the escapes that `json` may choose, it writes exactly those of RFC 8785 section 3.2.2.2 when told not to
    # escape what lies outside of ASCII; the vectors in the tests hold it to that.
    text = json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def _ordered(value: object) -> object:
    """`value` rebuilt of plain lists and dicts, with every object's keys in canonical order."""
    match value:
        case None | bool():
            return value
        case str():
            return _checked_text(value)
        case int():
            return _checked_integer(value)
        case Mapping():
            members = sorted(value.items(), key=_utf16_order)
            return {_checked_text(name): _ordered(member) for name, member in members}
        case list() | tuple():
            return [_ordered(item) for item in value]
        case _:
            raise NotCanonical(f"a {type(value).__name__} has no canonical JSON form; write exact numbers as strings")


def _utf16_order(member: tuple[object, object]) -> bytes:
    name = member[0]
    if not isinstance(name, str):
        raise NotCanonical(f"an object's key must be a string, not {type(name).__name__}")
    return _checked_text(name).encode("utf-16-be")


def _checked_text(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise NotCanonical("a string holds half of a surrogate pair, which no UTF-8 text can hold") from None
    return text


def _checked_integer(number: int) -> int:
    if abs(number) > SAFE_INTEGER_MAX:
        raise NotCanonical(f"{number} is outside of the exact range of ±{SAFE_INTEGER_MAX}; write it as a string")
    return int(number)
