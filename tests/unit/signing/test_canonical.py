"""Canonical JSON against RFC 8785 and against itself."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.signing.canonical import CanonicalValue, canonical_bytes
from libs.signing.errors import NotCanonical
from libs.signing.reader import SAFE_INTEGER_MAX, read_json

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-SAFE_INTEGER_MAX, SAFE_INTEGER_MAX) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_reading_a_canonical_text_gives_the_value_back(value: CanonicalValue) -> None:
    assert read_json(canonical_bytes(value), bytes_max=1_000_000) == value


@given(VALUES)
def test_the_canonical_form_of_a_canonical_text_is_itself(value: CanonicalValue) -> None:
    written = canonical_bytes(value)

    assert canonical_bytes(read_json(written, bytes_max=1_000_000)) == written


@given(st.dictionaries(TEXT, SCALARS, min_size=2, max_size=6))
def test_the_order_in_which_an_object_was_filled_changes_nothing(members: dict[str, CanonicalValue]) -> None:
    backwards = dict(reversed(members.items()))

    assert canonical_bytes(backwards) == canonical_bytes(members)


def test_keys_are_ordered_by_utf16_code_units_as_in_rfc8785_section_3_2_3() -> None:
    members = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}

    written = canonical_bytes(members)

    assert [json.loads(written)[name] for name in json.loads(written)] == [2, 4, 6, 7, 1, 5, 3]


def test_strings_are_escaped_as_in_rfc8785_section_3_2_2_2() -> None:
    text = '\u20ac$\u000f\nA\'B"\\\\"/\x7f\b\t\f\r'

    assert canonical_bytes(text) == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f\\b\\t\\f\\r"'.encode()


def test_no_white_space_is_written() -> None:
    assert canonical_bytes({"b": [1, True, None], "a": {}}) == b'{"a":{},"b":[1,true,null]}'


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), Decimal("1.5"), b"bytes", {1: "a"}, {1, 2}, 2**53, -(2**53), "\ud800", {"\udfff": 1}],
    ids=repr,
)
def test_what_has_no_exact_form_is_refused(value: CanonicalValue) -> None:
    with pytest.raises(NotCanonical):
        canonical_bytes({"inside": [value]})
