"""`deploy/tools/prometheus.sh` uses two tools of one version that our rules are written for, and says which."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

NEEDED = ("dirname", "mkdir", "ln", "sed", "readlink")  # of the machine's tools; apt-get is not among them


def ask(folder: Path, server_version: str, tool_version: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a checkout of its own, on a PATH that has tools of these versions."""
    programs, script = folder / "bin", folder / "checkout" / "deploy" / "tools" / "prometheus.sh"
    programs.mkdir()
    for name in NEEDED:
        (programs / name).symlink_to(shutil.which(name) or "/absent")
    for name, version in (("prometheus", server_version), ("promtool", tool_version)):
        (programs / name).write_text(f"#!/bin/sh\necho '{name}, version {version} (branch: x, revision: y)'\n")
        (programs / name).chmod(0o755)
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "tools" / "prometheus.sh", script)
    return subprocess.run(["/bin/sh", script], env={"PATH": str(programs)}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["2.42.0+ds", "2.53.3", "3.5.0"])
def test_a_version_that_fits_is_linked_and_said(tmp_path: Path, version: str) -> None:
    answer = ask(tmp_path, version, version)
    linked = tmp_path / "checkout" / ".tools" / "prometheus" / "promtool"
    assert (answer.returncode, linked.resolve()) == (0, tmp_path / "bin" / "promtool")
    assert f"Prometheus {version}, {tmp_path}/bin/prometheus" in answer.stderr


@pytest.mark.parametrize(
    ("server_version", "tool_version", "why"),
    [
        ("2.41.0", "2.41.0", "is Prometheus 2.41.0: 2.42 or newer, below 4, is needed"),
        ("1.8.2", "1.8.2", "is Prometheus 1.8.2"),
        ("4.0.0", "4.0.0", "is Prometheus 4.0.0"),
        ("none", "none", "is Prometheus none"),
        ("2.53.3", "2.42.0", "are of different versions"),
    ],
)
def test_another_is_not_linked_and_the_reason_is_said(
    tmp_path: Path, server_version: str, tool_version: str, why: str
) -> None:
    answer = ask(tmp_path, server_version, tool_version)
    assert answer.returncode == 1
    assert why in answer.stderr
    assert list((tmp_path / "checkout" / ".tools" / "prometheus").iterdir()) == []
