"""Lists that page by cursor. A cursor is opaque to the caller and holds the last row's sort key.

A list asks its store for one row more than the page shows: `place_of(cursor, …)` says after which row, and
`page_of(rows, …)` makes the answer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar, overload

import orjson
from pydantic import BaseModel

from libs.runtime.errors import Rejected

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500  # keeps the largest page around a hundred kilobytes
_MAX_CURSOR_CHARS: Final = 16_384  # two names of 1,024 characters of any script fit


class MalformedCursor(Rejected):
    """A cursor that we did not give out."""

    code = "malformed_cursor"
    title = "The cursor is not one of ours"


class Page(BaseModel, Generic[T]):
    """One page: the items, and the cursor of the next page (null on the last)."""

    items: list[T]
    next_cursor: str | None = None


def page_of(rows: Sequence[R], limit: int, show: Callable[[R], T], place: Callable[[R], Iterable[object]]) -> Page[T]:
    """Return the page of the first `limit` of `rows`; a row beyond them says that there is a next page.

    `show` makes an item of a row; `place` gives the row's sort key, which its cursor holds.
    """
    shown = rows[:limit]
    has_more = len(rows) > limit
    return Page(items=[show(row) for row in shown], next_cursor=encode_cursor(place(shown[-1])) if has_more else None)


@overload
def place_of(cursor: str | None, first: Callable[[str], A], /) -> tuple[A] | None: ...
@overload
def place_of(cursor: str | None, first: Callable[[str], A], second: Callable[[str], B], /) -> tuple[A, B] | None: ...
@overload
def place_of(
    cursor: str | None, first: Callable[[str], A], second: Callable[[str], B], third: Callable[[str], C], /
) -> tuple[A, B, C] | None: ...
def place_of(cursor: str | None, /, *readers: Callable[[str], Any]) -> tuple[Any, ...] | None:
    """Return the sort key in `cursor`, each part as its reader gives it; None without a cursor.

    Raises MalformedCursor where the cursor is of another list, or a reader raises ValueError.
    """
    key = decode_cursor(cursor, parts=len(readers))
    if key is None:
        return None
    try:
        return tuple(reader(part) for reader, part in zip(readers, key, strict=True))
    except (ValueError, OverflowError) as error:
        raise MalformedCursor("pass the `next_cursor` of the same list, unchanged") from error


def moment(text: str) -> datetime:
    """Return the instant in a part of a cursor, in UTC; raise ValueError or OverflowError for anything else."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time of ours has its offset")
    return found.astimezone(UTC)


def encode_cursor(key: Iterable[object]) -> str:
    """Return the cursor of the row whose sort key is `key`: texts, and what has one text form (times, UUIDs)."""
    parts = [part.isoformat() if isinstance(part, datetime) else str(part) for part in key]
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode("ascii")


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
