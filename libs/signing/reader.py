"""A JSON reader that accepts one meaning only.

`json.loads` takes the last of two equal keys, `NaN`, floats of any size and lone surrogates. Two readers of the same
signed bytes could then see different documents, so everything ambiguous is refused here (RFC 8259 section 4 and
I-JSON, RFC 7493). Size and depth are bounded before anything is parsed.
"""

import json
import re
from typing import NoReturn, TypeAlias

from libs.signing.errors import MalformedJson, TooLarge

JsonValue: TypeAlias = "str | int | bool | list[JsonValue] | dict[str, JsonValue] | None"

# Integers past this are not exact in every JSON reader (RFC 7493 section 2.2).
SAFE_INTEGER_MAX = 2**53 - 1
# "-" and 16 digits hold every safe integer; longer texts are refused unread, since converting them costs n**2.
INTEGER_CHARS_MAX = 17
# Our own documents nest four deep; a bundle with a log entry and its proof, seven.
DEPTH_MAX = 16

# A whole string, so that brackets inside of it are skipped, or one bracket. A string that is never closed also matches
# (to the end), so that each byte is looked at once, whatever the sender wrote.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]+|\\.?)*+"?|[\[{\]}]', re.DOTALL)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json(raw: bytes, *, bytes_max: int, depth_max: int = DEPTH_MAX) -> JsonValue:
    """Parse exactly one JSON document of strings, integers, booleans, nulls, arrays and objects.

    Raises `TooLarge` past a bound and `MalformedJson` for anything else that is not unambiguous.
    """
    if len(raw) > bytes_max:
        raise TooLarge(f"the document has {len(raw)} bytes; at most {bytes_max} are read")
    _check_depth(raw, depth_max)
    text = _decode(raw)
    try:
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=_object_of,
            parse_int=_integer_of,
            parse_float=_refuse_float,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise MalformedJson(f"not one JSON document: {error.msg} at line {error.lineno} column {error.colno}") from None
    _check_strings(value)
    return value


def read_object(raw: bytes, *, bytes_max: int) -> dict[str, JsonValue]:
    """As `read_json`, for a document whose outermost value must be an object."""
    value = read_json(raw, bytes_max=bytes_max)
    if not isinstance(value, dict):
        raise MalformedJson("the outermost value must be an object")
    return value


def _check_depth(raw: bytes, depth_max: int) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        token = match.group()
        depth += (token in (b"[", b"{")) - (token in (b"]", b"}"))
        if depth > depth_max:
            raise TooLarge(f"the document nests deeper than {depth_max} levels")


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJson(f"not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise MalformedJson("starts with a byte order mark, which JSON does not have")
    return text


def _object_of(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members: dict[str, JsonValue] = {}
    for name, value in pairs:
        if name in members:
            raise MalformedJson(f"the key {name!r} stands twice in one object")
        members[name] = value
    return members


def _integer_of(text: str) -> int:
    if len(text) > INTEGER_CHARS_MAX or abs(int(text)) > SAFE_INTEGER_MAX:
        raise MalformedJson(f"an integer is outside of the exact range of ±{SAFE_INTEGER_MAX}")
    return int(text)


def _refuse_float(text: str) -> NoReturn:
    raise MalformedJson(f"a number with a fraction or an exponent is not exact: {text[:40]}")


def _refuse_constant(text: str) -> NoReturn:
    raise MalformedJson(f"{text} is not JSON")


def _check_strings(value: JsonValue) -> None:
    if isinstance(value, str):
        if _LONE_SURROGATE.search(value):
            raise MalformedJson("a string holds half of a surrogate pair, which no UTF-8 text can hold")
    elif isinstance(value, list):
        for item in value:
            _check_strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_strings(name)
            _check_strings(item)
