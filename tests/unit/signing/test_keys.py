"""Keys: one kind, in a file of their own, never readable by others, never replaced."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from libs.signing.digests import sha256_hex
from libs.signing.errors import MalformedKey
from libs.signing.keys import PublicKey, SigningKey

OTHER_KINDS = [
    ec.generate_private_key(ec.SECP384R1()),
    ed25519.Ed25519PrivateKey.generate(),
    rsa.generate_private_key(65537, 2048),
]
KIND_NAMES = ["P-384", "Ed25519", "RSA"]


def private_pem(key: PrivateKeyTypes, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def write_private(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def test_a_key_that_was_made_is_loaded_again_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "signing.pem"

    made = SigningKey.load_or_make(path)

    assert SigningKey.load_or_make(path).public.fingerprint == made.public.fingerprint


def test_only_the_owner_may_read_a_key_file(tmp_path: Path) -> None:
    SigningKey.load_or_make(tmp_path / "secrets" / "signing.pem")

    assert stat.S_IMODE((tmp_path / "secrets" / "signing.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_a_key_file_that_is_there_is_never_replaced(tmp_path: Path, key: SigningKey, other_key: SigningKey) -> None:
    path = tmp_path / "signing.pem"
    key.save_new(path)

    written = other_key.save_new(path)

    assert not written
    assert SigningKey.load(path).public == key.public
    assert [entry.name for entry in tmp_path.iterdir()] == ["signing.pem"]


def test_a_key_file_that_others_may_read_is_refused_with_the_remedy(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "signing.pem"
    key.save_new(path)
    path.chmod(0o640)

    with pytest.raises(MalformedKey, match="chmod 600"):
        SigningKey.load(path)


def test_a_link_in_the_place_of_a_key_file_is_not_followed(tmp_path: Path, key: SigningKey) -> None:
    key.save_new(tmp_path / "elsewhere.pem")
    (tmp_path / "signing.pem").symlink_to(tmp_path / "elsewhere.pem")

    with pytest.raises(OSError, match="symbolic link"):
        SigningKey.load(tmp_path / "signing.pem")


def test_a_folder_in_the_place_of_a_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        SigningKey.load(tmp_path)


@pytest.mark.parametrize("other", OTHER_KINDS, ids=KIND_NAMES)
def test_a_private_key_of_another_kind_is_refused(tmp_path: Path, other: PrivateKeyTypes) -> None:
    path = write_private(tmp_path / "other.pem", private_pem(other, serialization.NoEncryption()))

    with pytest.raises(MalformedKey, match="another kind"):
        SigningKey.load(path)


@pytest.mark.parametrize("other", OTHER_KINDS, ids=KIND_NAMES)
def test_a_public_key_of_another_kind_is_refused(other: PrivateKeyTypes) -> None:
    pem = other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    with pytest.raises(MalformedKey, match="another kind"):
        PublicKey.from_pem(pem)


def test_a_private_key_is_not_taken_for_a_public_one(key: SigningKey) -> None:
    with pytest.raises(MalformedKey, match="BEGIN PUBLIC KEY"):
        PublicKey.from_pem(private_pem(key.key, serialization.NoEncryption()))


def test_an_encrypted_private_key_is_refused(tmp_path: Path, key: SigningKey) -> None:
    path = write_private(tmp_path / "locked.pem", private_pem(key.key, serialization.BestAvailableEncryption(b"x")))

    with pytest.raises(MalformedKey, match="unencrypted"):
        SigningKey.load(path)


@pytest.mark.parametrize("content", [b"", b"not PEM", b"x" * 5000])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write_private(tmp_path / "odd.pem", content)

    with pytest.raises(MalformedKey):
        SigningKey.load(path)
    with pytest.raises(MalformedKey):
        PublicKey.load(path)


def test_a_published_key_is_readable_by_all_and_replaced_in_one_step(
    tmp_path: Path, key: SigningKey, other_key: SigningKey
) -> None:
    path = tmp_path / "trust" / "evidence.pub.pem"
    other_key.public.save(path)

    key.public.save(path)

    assert PublicKey.load(path) == key.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["evidence.pub.pem"]


def test_the_fingerprint_is_the_digest_of_the_der_form(key: SigningKey) -> None:
    assert key.public.fingerprint == sha256_hex(key.public.der)


def test_signing_the_same_content_twice_gives_the_same_signature(key: SigningKey) -> None:
    assert key.sign(b"content") == key.sign(b"content")


def test_a_key_vouches_for_what_it_signed_and_for_nothing_else(key: SigningKey, other_key: SigningKey) -> None:
    signature = key.sign(b"content")

    assert key.public.has_signed(b"content", signature)
    assert not key.public.has_signed(b"Content", signature)
    assert not other_key.public.has_signed(b"content", signature)
    assert not key.public.has_signed(b"content", b"no DER at all")


def test_the_text_of_a_key_does_not_hold_the_secret(key: SigningKey) -> None:
    secret = key.key.private_numbers().private_value

    assert str(secret) not in repr(key)
    assert f"{secret:x}" not in repr(key)
