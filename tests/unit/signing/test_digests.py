"""Digests and their two texts."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.signing.digests import from_base64, normal_hex, sha256, sha256_hex, to_base64


def test_sha256_matches_the_vector_of_fips_180() -> None:
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

    assert sha256_hex(b"abc") == expected
    assert sha256(b"abc").hex() == expected


def test_an_upper_case_digest_is_the_same_digest() -> None:
    assert normal_hex(sha256_hex(b"x").upper()) == sha256_hex(b"x")


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "٣" * 64])
def test_a_text_that_is_no_sha256_has_no_normal_form(text: str) -> None:
    assert normal_hex(text) is None


@given(st.binary(max_size=80))
def test_base64_reads_back_in_both_alphabets_with_and_without_padding(content: bytes) -> None:
    url_safe = base64.urlsafe_b64encode(content).decode()

    assert from_base64(to_base64(content)) == content
    assert from_base64(url_safe) == content
    assert from_base64(url_safe.rstrip("=")) == content


@pytest.mark.parametrize("text", ["a", "=", "ab=c", "a b=", "abcd\n", "ab===", "äbcd"])
def test_a_text_that_is_not_base64_has_no_bytes(text: str) -> None:
    assert from_base64(text) is None
