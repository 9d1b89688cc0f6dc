"""The strict JSON reader: one meaning or none."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.signing.errors import MalformedJson, SigningError, TooLarge
from libs.signing.reader import DEPTH_MAX, read_json, read_object

BYTES_MAX = 10_000


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a":1,"a":1}', "stands twice"),
        (b'{"a":{"b":1,"\\u0062":2}}', "stands twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1.0]", "fraction"),
        (b"[1e3]", "fraction"),
        (b"[9007199254740992]", "exact range"),
        (b"[" + b"9" * 5000 + b"]", "exact range"),
        (b"{} {}", "Extra data"),
        (b"{}x", "Extra data"),
        (b"", "not one JSON document"),
        (b'{"a":1,}', "not one JSON document"),
        (b"{'a':1}", "not one JSON document"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'["\xff"]', "not UTF-8"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\udc00":1}', "surrogate"),
        (b'["a\nb"]', "control character"),
        (b'["\\', "not one JSON document"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_document_with_more_or_less_than_one_meaning_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(MalformedJson, match=why):
        read_json(raw, bytes_max=BYTES_MAX)


def test_nesting_up_to_the_bound_is_read() -> None:
    assert read_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX, bytes_max=BYTES_MAX) is not None


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
        b"[" * 5_000,
        b'["",' * 5_000,
        b'{"":' * 5_000,
        b'["\\\\",' * 5_000,
    ],
    ids=["by one", "unclosed", "after empty strings", "objects", "after escapes"],
)
def test_nesting_past_the_bound_is_refused_before_it_is_parsed(raw: bytes) -> None:
    with pytest.raises(TooLarge, match="deeper"):
        read_json(raw, bytes_max=len(raw))


def test_brackets_inside_of_strings_do_not_count_as_nesting() -> None:
    text = "[{" * 100 + '\\"' + "[{" * 100

    assert read_json(f'["{text}"]'.encode(), bytes_max=BYTES_MAX) == [text.replace("\\", "")]


def test_a_document_past_the_size_bound_is_refused_unread() -> None:
    with pytest.raises(TooLarge, match="at most 4"):
        read_json(b"[1,2]", bytes_max=4)


def test_an_array_where_an_object_belongs_is_refused() -> None:
    with pytest.raises(MalformedJson, match="must be an object"):
        read_object(b"[]", bytes_max=BYTES_MAX)


@pytest.mark.parametrize("raw", [b'"' + b'\\"' * 500_000 + b"\\", b'"' * 1_000_000, b'"\\' * 500_000])
def test_a_hostile_text_costs_no_more_than_its_length(raw: bytes) -> None:
    started = time.perf_counter()

    with pytest.raises(MalformedJson):
        read_json(raw, bytes_max=len(raw))

    assert time.perf_counter() - started < 2  # linear: some 20 ms; quadratic: hours


@given(st.binary(max_size=200))
def test_any_bytes_are_either_read_or_refused_and_never_crash_the_reader(raw: bytes) -> None:
    with contextlib.suppress(SigningError):
        read_json(raw, bytes_max=BYTES_MAX)
