"""The operations tools that tests hold us to, each built from its pin in `deploy/tools`."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_S = 1800
FETCH_TIMEOUT_S = 600


def built(tool: str) -> Path:
    """Return where the tool's binary lies. In CI it is built here, and the tests fail where it cannot be; elsewhere
    `make tools` builds it, or the test skips.
    """
    binary = CHECKOUT / ".tools" / f"{tool}-{version_of(tool)}" / tool
    if binary.exists():
        return binary
    if not os.environ.get("CI"):
        pytest.skip(f"{tool} {version_of(tool)} is not built here: run `make tools` (needs Go, some minutes)")
    subprocess.run([CHECKOUT / "deploy" / "tools" / "build.sh", tool], check=True, timeout=BUILD_TIMEOUT_S)
    return binary


def prometheus_tool(name: str) -> Path:
    """Return where `prometheus` or `promtool` lies: fetched in CI, elsewhere by `make tools`, or the test skips."""
    binary = CHECKOUT / ".tools" / "prometheus" / name
    if not binary.exists():
        if not os.environ.get("CI"):
            pytest.skip(f"{name} is not here: run `make tools`")
        subprocess.run([CHECKOUT / "deploy" / "tools" / "prometheus.sh"], check=True, timeout=FETCH_TIMEOUT_S)
    return binary


@cache
def version_of(tool: str) -> str:
    """Return the version that the tool is pinned to: that of the module which its `tool` line is in."""
    pin = (CHECKOUT / "deploy" / "tools" / tool / "go.mod").read_text(encoding="utf-8")
    [package] = re.findall(r"^tool (\S+)$", pin, re.MULTILINE)
    versions: dict[str, str] = dict(re.findall(r"^\s*(\S+) v(\S+)(?: // indirect)?$", pin, re.MULTILINE))
    return next(version for module, version in versions.items() if f"{package}/".startswith(f"{module}/"))
