"""The text of an API key is made, read and hidden in one way."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.access.keys import MAX_KEY_CHARS, ApiKey, new_key, parse_key
from tests.support.access import seeded

ENVS = st.from_regex(r"\A[a-z0-9]{1,16}\Z")
SEEDS = st.integers(min_value=0)


@given(env=ENVS, seed=SEEDS)
def test_a_new_key_reads_back_as_itself(env: str, seed: int) -> None:
    key = new_key(env, seeded(seed))

    assert parse_key(key.text) == key


@given(env=ENVS, seed=SEEDS)
def test_a_key_has_the_documented_form_and_length(env: str, seed: int) -> None:
    key = new_key(env, seeded(seed))

    assert re.fullmatch(rf"mst_{env}_[a-z2-7]{{16}}_[A-Za-z0-9_-]{{43}}", key.text)
    assert len(key.text) <= MAX_KEY_CHARS


def test_the_secret_carries_all_of_its_256_bits() -> None:
    first, second = bytes(32), bytes(31) + b"\x01"
    supply = iter([bytes(10), first, bytes(10), second])

    assert new_key("local", lambda _: next(supply)).text != new_key("local", lambda _: next(supply)).text


def test_the_digest_covers_the_whole_text() -> None:
    key = new_key("local", seeded(1))

    assert key.digest == hashlib.sha256(key.text.encode()).digest()


def test_a_key_never_shows_its_text_in_a_representation() -> None:
    key = new_key("local", seeded(1))

    assert key.text not in repr(key)
    assert key.text[-43:] not in repr(key)


@pytest.mark.parametrize("env", ["", "Live", "with_underscore", "a" * 17, "ä"])
def test_a_key_of_an_impossible_environment_is_not_made(env: str) -> None:
    with pytest.raises(ValueError, match="environment"):
        new_key(env, seeded(1))


GOOD = new_key("local", seeded(7)).text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(GOOD[:-1], id="a character short"),
        pytest.param(GOOD + "A", id="a character long"),
        pytest.param(GOOD + "\n", id="line end"),
        pytest.param(" " + GOOD, id="leading space"),
        pytest.param(GOOD.upper(), id="upper case"),
        pytest.param("xyz" + GOOD[3:], id="another prefix"),
        pytest.param(GOOD.replace("_local_", "__"), id="no environment"),
        pytest.param(GOOD[:-1] + "=", id="padding"),
        pytest.param(GOOD[:-1] + "\x00", id="NUL"),
        pytest.param("mst_" + "a" * 100_000, id="endless"),
    ],
)
def test_a_text_that_is_not_a_key_is_none(text: str) -> None:
    assert parse_key(text) is None


@given(text=st.text(max_size=200))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    assert parse_key(text) is None or isinstance(parse_key(text), ApiKey)
