"""A key that signs, a key that does not, and a small signed invoice folder."""

from pathlib import Path

import pytest

from libs.signing.bundle import sign_blob
from libs.signing.keys import SigningKey
from libs.signing.manifest import BUNDLE_NAME, MANIFEST_NAME, Manifest, Subject

SUBJECT = Subject(kind="invoice", tenant_id="tnt_aaaaaaaaaaaaaaaaaaaa", number="MST-000001", period="2026-10")
CONTENTS = {"invoice.json": b'{"total":"12.50"}', "invoice.csv": b"metric,value\ngql_calls,1000\n"}


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="session")
def other_key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def manifest() -> Manifest:
    return Manifest.of(SUBJECT, CONTENTS)


@pytest.fixture
def signed_folder(tmp_path: Path, key: SigningKey, manifest: Manifest) -> Path:
    folder = tmp_path / "invoice"
    folder.mkdir()
    raw = manifest.to_bytes()
    files = {**CONTENTS, MANIFEST_NAME: raw, BUNDLE_NAME: sign_blob(raw, key)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
