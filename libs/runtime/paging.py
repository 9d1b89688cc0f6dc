"""Lists that page by cursor. A cursor is opaque to the caller and holds the last row's sort key."""

from __future__ import annotations

import base64
import binascii
from typing import Final, Generic, TypeVar

import orjson
from pydantic import BaseModel

from libs.runtime.errors import Rejected

T = TypeVar("T")

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500  # keeps the largest page around a hundred kilobytes
_MAX_CURSOR_CHARS: Final = 1024


class MalformedCursor(Rejected):
    """A cursor that we did not give out."""

    code = "malformed_cursor"
    title = "The cursor is not one of ours"


class Page(BaseModel, Generic[T]):
    """One page: the items, and the cursor of the next page (null on the last)."""

    items: list[T]
    next_cursor: str | None = None


def encode_cursor(key: list[str]) -> str:
    """Return the cursor of the row whose sort key is `key`."""
    return base64.urlsafe_b64encode(orjson.dumps(key)).rstrip(b"=").decode("ascii")


def decode_cursor(cursor: str | None, *, parts: int) -> list[str] | None:
    """Return the sort key in `cursor` (`parts` strings), None without one; raise MalformedCursor otherwise."""
    if cursor is None:
        return None
    try:
        key = orjson.loads(base64.urlsafe_b64decode(cursor[:_MAX_CURSOR_CHARS] + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise MalformedCursor("pass the `next_cursor` of the page before, unchanged") from error
    if not (isinstance(key, list) and len(key) == parts and all(map(_is_storable, key))):
        raise MalformedCursor("pass the `next_cursor` of the same list, unchanged")
    return key


def _is_storable(part: object) -> bool:
    return isinstance(part, str) and "\x00" not in part  # PostgreSQL takes no NUL in a text
