"""The unprivileged account that PostgreSQL runs under when the stack is started by root.

PostgreSQL refuses to run as root. An ordinary user needs nothing; root lends the server an account that already exists
(`nobody` unless `MAESTRO_UNPRIVILEGED_ACCOUNT` names another). No account is created and no folder outside the state
folder changes its owner or its mode.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import Missing
from deploy.local.settings import ACCOUNT_SETTING

DEFAULT_ACCOUNT = "nobody"

PROBE_TIMEOUT_S = 10  # starting one small program as another account; seconds mean a hung name service


@dataclass(frozen=True, slots=True)
class Account:
    """An existing unprivileged account: its name, user id and group id."""

    name: str
    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        """Whether a process of this account can change into `folder` (asked of the kernel, so that ACLs count too)."""
        return self.can_run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)])

    def can_run(self, argv: Sequence[str]) -> bool:
        """Whether the program runs and exits 0 under this account."""
        try:
            done = subprocess.run(
                argv,
                user=self.uid,
                group=self.gid,
                extra_groups=[],
                cwd="/",
                check=False,
                capture_output=True,
                timeout=PROBE_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    def give(self, path: Path) -> None:
        """Make this account the owner of one path (only ever called for paths inside the state folder)."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


def unprivileged_account(environ: Mapping[str, str]) -> Account | None:
    """The account to lend to servers that refuse root, or None where we are not root and need none.

    Raises:
        Missing: we are root and the account does not exist, or is root itself.
    """
    if os.geteuid() != 0:
        return None
    name = environ.get(ACCOUNT_SETTING, DEFAULT_ACCOUNT)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise Missing(
            f"PostgreSQL does not run as root, and the account {name!r} that it should run under does not exist",
            fix=f"set {ACCOUNT_SETTING} to an existing unprivileged account",
        ) from None
    if entry.pw_uid == 0:
        raise Missing(
            f"{ACCOUNT_SETTING}={name} is root itself",
            fix=f"set {ACCOUNT_SETTING} to an unprivileged account such as {DEFAULT_ACCOUNT}",
        )
    return Account(name, entry.pw_uid, entry.pw_gid)
