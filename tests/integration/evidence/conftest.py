"""The stock cosign, built from its pin in deploy/tools/cosign."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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
