"""Evidence on a database of its own, and the stock cosign, built from its pin in deploy/tools/cosign."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from libs.bus.offsets import BUS_MIGRATIONS
from libs.signing.keys import SigningKey
from libs.store.migrate import STORE_MIGRATIONS, migrate
from libs.store.pool import Pool, open_pool
from services.evidence.settings import EvidenceSettings
from services.evidence.store import MIGRATIONS
from services.evidence.store.objects import ObjectStore
from tests.support.signed_folders import CHECKOUT

VERSION = "3.1.3"
BUILD_TIMEOUT_S = 1800


@pytest.fixture(scope="session")
def cosign() -> Path:
    """Where the binary lies. Built here only in CI; elsewhere `make tools` builds it, or the test skips."""
    binary = CHECKOUT / ".tools" / f"cosign-{VERSION}" / "cosign"
    if binary.exists():
        return binary
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if not (os.environ.get("CI") and go):
        pytest.skip(f"cosign {VERSION} is not built here: run `make tools` (needs Go, some minutes)")
    subprocess.run([CHECKOUT / "deploy" / "tools" / "build.sh", "cosign"], check=True, timeout=BUILD_TIMEOUT_S)
    return binary


@pytest.fixture
async def pool(fresh_database: Callable[..., str]) -> AsyncIterator[Pool]:
    """Connections to an empty database of evidence."""
    opened = await open_pool(EvidenceSettings(postgres_url=fresh_database("evidence")), name="evidence")
    await migrate(opened, [BUS_MIGRATIONS, STORE_MIGRATIONS, MIGRATIONS])
    yield opened
    await opened.close()


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")
