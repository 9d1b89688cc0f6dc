"""Stock cosign and we must agree: on our bundles, on its bundles, and on what neither may accept."""

import json
import subprocess
from pathlib import Path

import pytest

from libs.signing.bundle import sign_blob, verify_blob
from libs.signing.errors import SignatureMismatch
from libs.signing.keys import PublicKey, SigningKey
from tests.support.signed_folders import SignedFolder, make_signed_folder, run, without_network

# The first test of a CI run may build cosign.
pytestmark = pytest.mark.timeout(2000)


@pytest.fixture
def signed(tmp_path: Path) -> SignedFolder:
    return make_signed_folder(tmp_path, SigningKey.generate())


def ask_cosign(cosign: Path, signed: SignedFolder) -> subprocess.CompletedProcess[str]:
    """Without a network, so that no answer can come from outside. The flag says that there is no log to look into."""
    options = ["--key", str(signed.key_file), "--bundle", str(signed.bundle), "--insecure-ignore-tlog"]
    return run([*without_network(), str(cosign), "verify-blob", *options, str(signed.manifest)])


def test_stock_cosign_verifies_our_bundle_without_a_network(cosign: Path, signed: SignedFolder) -> None:
    answer = ask_cosign(cosign, signed)

    assert answer.returncode == 0, answer.stderr
    assert "Verified OK" in answer.stderr


def test_stock_cosign_refuses_our_bundle_for_a_changed_manifest(cosign: Path, signed: SignedFolder) -> None:
    signed.manifest.write_bytes(signed.manifest.read_bytes().replace(b"2026-10", b"2026-09"))

    answer = ask_cosign(cosign, signed)

    assert answer.returncode != 0
    assert "invalid signature" in answer.stderr


def test_stock_cosign_refuses_our_bundle_under_another_key(cosign: Path, signed: SignedFolder) -> None:
    SigningKey.generate().public.save(signed.key_file)

    answer = ask_cosign(cosign, signed)

    assert answer.returncode != 0
    assert "invalid signature" in answer.stderr


def test_neither_accepts_two_signatures(cosign: Path, signed: SignedFolder) -> None:
    bundle = json.loads(signed.bundle.read_bytes())
    bundle["dsseEnvelope"] = {"payload": "AAAA", "payloadType": "x", "signatures": [{"sig": "AAAA"}]}
    signed.bundle.write_text(json.dumps(bundle))

    answer = ask_cosign(cosign, signed)

    assert answer.returncode != 0


@pytest.fixture
def cosign_alone(cosign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cosign without a network and with a home of its own."""
    monkeypatch.setenv("COSIGN_PASSWORD", "of a key that lives as long as this test")
    monkeypatch.setenv("HOME", str(tmp_path))
    return [*without_network(), str(cosign)]


def sign_by_cosign(cosign_alone: list[str], private_key: Path, content: Path) -> Path:
    bundle = content.with_suffix(".sigstore.json")
    offline = ["--use-signing-config=false", "--tlog-upload=false", "--yes"]
    signed = run(
        [*cosign_alone, "sign-blob", "--key", str(private_key), "--bundle", str(bundle), *offline, str(content)]
    )
    assert signed.returncode == 0, signed.stderr
    return bundle


def test_we_verify_what_stock_cosign_signed(cosign_alone: list[str], tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"signed by a stranger")
    made_key = run([*cosign_alone, "generate-key-pair", "--output-key-prefix", str(tmp_path / "stranger")])

    bundle = sign_by_cosign(cosign_alone, tmp_path / "stranger.key", tmp_path / "content").read_bytes()

    assert made_key.returncode == 0, made_key.stderr
    stranger = PublicKey.load(tmp_path / "stranger.pub")
    assert verify_blob(b"signed by a stranger", bundle, [stranger]) == stranger
    with pytest.raises(SignatureMismatch):
        verify_blob(b"something else", bundle, [stranger])


def test_we_and_cosign_write_the_same_claims_for_the_same_key(cosign_alone: list[str], tmp_path: Path) -> None:
    key = SigningKey.generate()
    key.save_new(tmp_path / "ours.pem")
    (tmp_path / "content").write_bytes(b"signed by both")
    names = ["--key", str(tmp_path / "ours.pem"), "--output-key-prefix", str(tmp_path / "imported")]
    imported = run([*cosign_alone, "import-key-pair", *names])

    bundle = sign_by_cosign(cosign_alone, tmp_path / "imported.key", tmp_path / "content")

    assert imported.returncode == 0, imported.stderr
    theirs, ours = json.loads(bundle.read_bytes()), json.loads(sign_blob(b"signed by both", key))
    assert theirs["mediaType"] == ours["mediaType"]
    assert theirs["verificationMaterial"]["publicKey"] == ours["verificationMaterial"]["publicKey"]
    assert theirs["messageSignature"]["messageDigest"] == ours["messageSignature"]["messageDigest"]
