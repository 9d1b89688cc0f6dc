"""Evidence on a database of its own, and the stock cosign, built from its pin in deploy/tools/cosign."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from libs.signing.keys import SigningKey
from libs.store.opening import Pools
from libs.store.pool import Pool
from services.evidence.store import MIGRATIONS
from services.evidence.store.objects import ObjectStore
from tests.support.signed_folders import CHECKOUT
from tests.support.stores import pools_on

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
async def pools(fresh_database: Callable[..., str]) -> AsyncIterator[Pools]:
    """Connections to an empty database of evidence."""
    async with pools_on(fresh_database("evidence"), [MIGRATIONS]) as opened:
        yield opened


@pytest.fixture
def pool(pools: Pools) -> Pool:
    """Those of the worker."""
    return pools.worker


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")
