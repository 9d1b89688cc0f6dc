"""Sigstore bundles for a blob: what we write, and what a forger may try."""

import base64
import functools
import json
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.signing.bundle import BUNDLE_BYTES_MAX, sign_blob, verify_blob
from libs.signing.errors import MalformedBundle, MalformedJson, SignatureMismatch, TooLarge, UnknownKey
from libs.signing.keys import SigningKey

CONTENT = b'{"an":"invoice"}'


@pytest.fixture
def document(key: SigningKey) -> dict[str, Any]:
    """A good bundle, to be spoilt."""
    loaded: dict[str, Any] = json.loads(sign_blob(CONTENT, key))
    return loaded


def verify(document: object, key: SigningKey) -> None:
    verify_blob(CONTENT, json.dumps(document).encode(), [key.public])


def test_a_bundle_has_the_form_that_sigstore_gives_to_version_0_3(document: dict[str, Any], key: SigningKey) -> None:
    signature = document["messageSignature"].pop("signature")

    assert key.public.has_signed(CONTENT, base64.b64decode(signature))
    assert document == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": base64.b64encode(bytes.fromhex(key.public.fingerprint)).decode()},
            "tlogEntries": [],
        },
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": "Y58pgmoLLniDOKmSMulBxqVh5siVyq5mWoa48YfcneQ="}
        },
    }


def test_the_key_that_signed_is_named(key: SigningKey, other_key: SigningKey) -> None:
    signer = verify_blob(CONTENT, sign_blob(CONTENT, key), [other_key.public, key.public])

    assert signer == key.public


def test_signing_twice_gives_the_same_bundle(key: SigningKey) -> None:
    assert sign_blob(CONTENT, key) == sign_blob(CONTENT, key)


@given(content=st.binary(max_size=64), changed=st.binary(max_size=64))
def test_a_bundle_verifies_its_content_and_no_other(content: bytes, changed: bytes) -> None:
    key = SigningKey.generate()
    bundle = sign_blob(content, key)

    assert verify_blob(content, bundle, [key.public]) == key.public
    with pytest.raises(SignatureMismatch, match="was changed"):
        verify_blob(content + b"." + changed, bundle, [key.public])


def test_a_signature_over_other_content_is_refused_even_if_the_digest_was_mended(
    document: dict[str, Any], key: SigningKey
) -> None:
    other: dict[str, Any] = json.loads(sign_blob(b"other", key))
    document["messageSignature"]["signature"] = other["messageSignature"]["signature"]

    with pytest.raises(SignatureMismatch, match="not over this content"):
        verify(document, key)


def test_a_bundle_for_a_key_that_is_not_trusted_is_refused(document: dict[str, Any], other_key: SigningKey) -> None:
    with pytest.raises(UnknownKey, match="points to the key"):
        verify(document, other_key)


def test_nothing_verifies_when_no_key_is_trusted(document: dict[str, Any]) -> None:
    with pytest.raises(UnknownKey, match="trusted: none"):
        verify_blob(CONTENT, json.dumps(document).encode(), [])


def test_a_hint_that_points_to_another_trusted_key_narrows_and_does_not_help(
    document: dict[str, Any], key: SigningKey, other_key: SigningKey
) -> None:
    document["verificationMaterial"]["publicKey"]["hint"] = other_key.public.hint

    with pytest.raises(SignatureMismatch):
        verify_blob(CONTENT, json.dumps(document).encode(), [key.public, other_key.public])


def test_a_hint_cannot_make_a_forger_trusted(key: SigningKey, other_key: SigningKey) -> None:
    forged: dict[str, Any] = json.loads(sign_blob(CONTENT, other_key))
    forged["verificationMaterial"]["publicKey"]["hint"] = key.public.hint

    with pytest.raises(SignatureMismatch):
        verify(forged, key)


def test_without_a_hint_every_trusted_key_is_tried(
    document: dict[str, Any], key: SigningKey, other_key: SigningKey
) -> None:
    document["verificationMaterial"]["publicKey"] = {}

    signer = verify_blob(CONTENT, json.dumps(document).encode(), [other_key.public, key.public])

    assert signer == key.public


def test_url_safe_unpadded_base64_gives_the_same_answer(document: dict[str, Any], key: SigningKey) -> None:
    message = document["messageSignature"]
    message["signature"] = message["signature"].translate(str.maketrans("+/", "-_")).rstrip("=")

    verify(document, key)


@pytest.mark.parametrize("signature", ["", None, [], "****", "AA" * 60])
def test_a_stripped_or_emptied_signature_is_refused(
    document: dict[str, Any], key: SigningKey, signature: object
) -> None:
    document["messageSignature"]["signature"] = signature

    with pytest.raises(MalformedBundle, match="signature"):
        verify(document, key)


def test_a_bundle_without_a_signature_is_refused(document: dict[str, Any], key: SigningKey) -> None:
    del document["messageSignature"]

    with pytest.raises(MalformedBundle, match="lacks messageSignature"):
        verify(document, key)


def test_a_timestamp_in_the_place_of_a_signature_is_refused(document: dict[str, Any], key: SigningKey) -> None:
    del document["messageSignature"]
    document["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]}

    with pytest.raises(MalformedBundle):
        verify(document, key)


@pytest.mark.parametrize("unchecked", ["tlogEntries", "timestampVerificationData"])
def test_a_proof_that_is_not_checked_is_not_accepted(document: dict[str, Any], key: SigningKey, unchecked: str) -> None:
    document["verificationMaterial"][unchecked] = [{"logIndex": "1"}]

    with pytest.raises(MalformedBundle, match=unchecked):
        verify(document, key)


def test_two_signatures_are_refused_the_bad_one_first(document: dict[str, Any], key: SigningKey) -> None:
    good = document["messageSignature"]
    document["messageSignature"] = [{**good, "signature": "AAAA"}, good]

    with pytest.raises(MalformedBundle, match="one object"):
        verify(document, key)


def test_two_signatures_are_refused_the_good_one_first(document: dict[str, Any], key: SigningKey) -> None:
    good = document["messageSignature"]["signature"]
    document["messageSignature"]["signature"] = [good, "AAAA"]

    with pytest.raises(MalformedBundle, match="one base64 string"):
        verify(document, key)


def test_a_second_signature_under_the_same_name_is_refused(document: dict[str, Any], key: SigningKey) -> None:
    text = json.dumps(document)
    good = document["messageSignature"]["signature"]
    doubled = text.replace('"signature":', f'"signature": "{good}", "signature":')

    with pytest.raises(MalformedJson, match="stands twice"):
        verify_blob(CONTENT, doubled.encode(), [key.public])


def test_a_dsse_envelope_beside_the_signature_is_refused(document: dict[str, Any], key: SigningKey) -> None:
    document["dsseEnvelope"] = {"payload": "AAAA", "payloadType": "application/vnd.in-toto+json", "signatures": []}

    with pytest.raises(MalformedBundle, match="DSSE"):
        verify(document, key)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "extra"),
        ((), "MediaType"),
        (("verificationMaterial",), "certificate"),
        (("verificationMaterial", "publicKey"), "Hint"),
        (("messageSignature",), "Signature"),
        (("messageSignature", "messageDigest"), "sha1"),
    ],
)
def test_an_unknown_field_is_refused_wherever_it_stands(
    document: dict[str, Any], key: SigningKey, path: tuple[str, ...], name: str
) -> None:
    functools.reduce(operator.getitem, path, document)[name] = "x"

    with pytest.raises(MalformedBundle, match=f"unknown field '{name}'"):
        verify(document, key)


@pytest.mark.parametrize(
    ("digest", "why"),
    [
        ({"algorithm": "SHA1", "digest": "AAAA"}, "must be SHA2_256"),
        ({"algorithm": "SHA2_256", "digest": "AAAA"}, "3 bytes"),
        ({"algorithm": "SHA2_256"}, "lacks digest"),
        (None, "one object"),
    ],
)
def test_a_weak_or_missing_digest_is_refused(
    document: dict[str, Any], key: SigningKey, digest: object, why: str
) -> None:
    document["messageSignature"]["messageDigest"] = digest

    with pytest.raises(MalformedBundle, match=why):
        verify(document, key)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle.v0.2+json",
        "APPLICATION/VND.DEV.SIGSTORE.BUNDLE.V0.3+JSON",
        None,
    ],
)
def test_another_media_type_is_refused(document: dict[str, Any], key: SigningKey, media_type: object) -> None:
    document["mediaType"] = media_type

    with pytest.raises(MalformedBundle, match="mediaType must be"):
        verify(document, key)


def test_a_hint_that_is_no_text_is_refused(document: dict[str, Any], key: SigningKey) -> None:
    document["verificationMaterial"]["publicKey"]["hint"] = 7

    with pytest.raises(MalformedBundle, match="hint must be a string"):
        verify(document, key)


def test_data_after_the_bundle_is_refused(document: dict[str, Any], key: SigningKey) -> None:
    with pytest.raises(MalformedJson, match="Extra data"):
        verify_blob(CONTENT, json.dumps(document).encode() + b"{}", [key.public])


def test_a_bundle_past_the_size_bound_is_refused_unread(key: SigningKey) -> None:
    with pytest.raises(TooLarge):
        verify_blob(CONTENT, b" " * (BUNDLE_BYTES_MAX + 1), [key.public])
