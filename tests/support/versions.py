"""The version before this one: the code as it was before the migrations last changed, unpacked and started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.places import CHECKOUT, Places

UPGRADES_FROM = "a89149a"  # the stack before it had one role a service and no login at the broker: a new state folder
MIGRATIONS = (":(glob)**/migrations/*.sql",)
RUN_WITHIN_S = 180
CI = "CI"


@dataclass(frozen=True, slots=True)
class OldVersion:
    """A checkout of the version before, run by this one's Python."""

    commit: str
    folder: Path

    def migrations(self) -> list[Path]:
        """Every file of its schema."""
        return sorted(self.folder.glob("**/migrations/*.sql"))

    def maestro(self, places: Places, *arguments: str) -> str:
        """Run its `maestro` command on the stack in `places` and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.local", *arguments],
            cwd=self.folder,
            env={**os.environ, "MAESTRO_STATE_DIR": str(places.home), "COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=RUN_WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, f"{self.commit}: {done.stdout}{done.stderr}"
        return done.stdout


def previous_version() -> str:
    """The newest commit whose migrations are not today's, or the last commit where that one is before UPGRADES_FROM.

    Skips the test where there is no history to look in.
    """
    changed = _git("log", "-1", "--format=%H", "--", *MIGRATIONS)
    for one in (f"{changed}^", "HEAD^"):
        commit = _git("rev-parse", "--verify", "--quiet", one)
        if commit and _git("merge-base", UPGRADES_FROM, commit) == _git("rev-parse", UPGRADES_FROM):
            return commit
    assert not os.environ.get(CI), "CI needs the history of the repository, not its last commit alone"
    pytest.skip("no history here: clone the repository whole to test upgrades")


@contextmanager
def unpacked(commit: str, folder: Path) -> Iterator[OldVersion]:
    """Lay the files of `commit` into `folder`; the tools that were fetched for this version serve it too."""
    archive = subprocess.run(["git", "archive", commit], cwd=CHECKOUT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    (folder / ".tools").symlink_to(CHECKOUT / ".tools", target_is_directory=True)
    yield OldVersion(commit, folder)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
