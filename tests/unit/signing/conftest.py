"""A key that signs, a key that does not, and a small signed invoice folder."""

from pathlib import Path

import pytest

from libs.signing.keys import SigningKey
from libs.signing.manifest import Manifest
from tests.support.signed_folders import CONTENTS, SUBJECT, make_signed_folder


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
def signed_folder(tmp_path: Path, key: SigningKey) -> Path:
    return make_signed_folder(tmp_path, key).folder
