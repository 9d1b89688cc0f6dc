"""Programs run without a network, or where the file system is read-only: in namespaces of their own (unshare(1))."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.local.places import CHECKOUT

RUN_WITHIN_S = 120
AS_USER = ("--user", "--map-current-user", "--keep-caps")

# A new network namespace has a loopback interface that is down; SIOCSIFFLAGS (netdevice(7)) brings it up. The socket in
# the way of port `argv[1]` stays open in the program that takes this one's place.
LOOPBACK_ONLY = """
import fcntl, os, socket, struct, sys
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
with socket.socket() as asking:
    fcntl.ioctl(asking, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP | IFF_RUNNING))
if int(sys.argv[1]):
    taken = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    taken.set_inheritable(True)
os.execv(sys.argv[2], sys.argv[2:])
"""

# mount(2) itself: the command of that name refuses everybody but root, whatever the namespace allows.
READ_ONLY = """
import ctypes, os, sys
MS_RDONLY = 1
if ctypes.CDLL(None, use_errno=True).mount(b"none", os.fsencode(sys.argv[1]), b"tmpfs", MS_RDONLY, None):
    raise OSError(ctypes.get_errno(), "cannot mount", sys.argv[1])
os.execv(sys.argv[2], sys.argv[2:])
"""


def offline(command: Sequence[str], *, taken_port: int = 0) -> list[str]:
    """The command that runs another one where there is no network but loopback, with a port of it already taken."""
    unshare = _unshare(["--net"] if os.geteuid() == 0 else [*AS_USER, "--net"])
    return [*unshare, sys.executable, "-c", LOOPBACK_ONLY, str(taken_port), *command]


def read_only(folder: Path, command: Sequence[str]) -> list[str]:
    """The command that runs another one for which `folder` is empty and read-only."""
    unshare = _unshare(["--mount"] if os.geteuid() == 0 else [*AS_USER, "--mount"])
    return [*unshare, sys.executable, "-c", READ_ONLY, str(folder), *command]


def run(command: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout with these settings and return what it printed."""
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "COLUMNS": "160", **environ},
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN_S,
        check=False,
    )


def _unshare(flags: Sequence[str]) -> list[str]:
    program = shutil.which("unshare")
    if program is None or run([program, *flags, "true"]).returncode != 0:
        pytest.skip(f"needs `unshare {' '.join(flags)}` and a kernel that allows it")
    return [program, *flags]
