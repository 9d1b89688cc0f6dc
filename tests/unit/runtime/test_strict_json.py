from __future__ import annotations

from collections.abc import Callable

import pytest

from libs.runtime.strict_json import NotStrictJson, require_strict, strict_json

Read = Callable[[bytes], object]
READERS = pytest.mark.parametrize("read", [strict_json, require_strict])


def test_what_the_text_holds_is_returned() -> None:
    text = b'{"a":[1,-2.5,1e3,true,false,null,"\\u00e9\\ud83d\\ude00",{}],"big":123456789012345678901234567890}'
    assert strict_json(text) == {
        "a": [1, -2.5, 1000.0, True, False, None, "\u00e9\U0001f600", {}],
        "big": 123456789012345678901234567890,
    }


def test_objects_side_by_side_and_inside_each_other_may_say_the_same_name() -> None:
    assert strict_json(b'[{"a":{"a":1}},{"a":2}]') == [{"a": {"a": 1}}, {"a": 2}]


@READERS
@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"[1,]", b"[01]", b"[1] 2", b"[+1]", b"{'a':1}", b"\xff", b"\xef\xbb\xbf{}"),
        *(b"NaN", b"[Infinity]", b'{"a":-Infinity}', b'"\\ud800"', b'"a\nb"'),
    ],
)
def test_what_is_no_json_is_refused(read: Read, text: bytes) -> None:
    with pytest.raises(NotStrictJson):
        read(text)


@READERS
@pytest.mark.parametrize("text", [b'{"a":1,"b":2,"a":1}', b'{"a":1,"\\u0061":2}', b'[{"b":{"a":1,"a":2}}]'])
def test_the_name_that_is_said_twice_is_named(read: Read, text: bytes) -> None:
    with pytest.raises(NotStrictJson, match='duplicate key "a"'):
        read(text)


@READERS
def test_text_nests_no_deeper_than_some_200(read: Read) -> None:
    read(b"[" * 200 + b"]" * 200)
    with pytest.raises(NotStrictJson):
        read(b"[" * 300 + b"]" * 300)


def test_a_refusal_quotes_little_and_only_what_can_be_printed() -> None:
    name = b'"\\u202e' + b"k" * 10_000 + b'"'
    with pytest.raises(NotStrictJson) as refusal:
        strict_json(b"{" + name + b":1," + name + b":1}")
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 300
