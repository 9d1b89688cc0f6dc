"""Checking files as a stranger would: on a copy, in a network namespace that holds nothing but a loopback that is down.

unshare(1) makes the namespace: plainly as root, inside a user namespace of our own otherwise. Some machines allow
neither (a sysctl, a container's seccomp profile); the check then runs without one, and says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
WITHIN_S = 60  # a verification takes half a second; past this something is wrong with the machine
FLIPPED = "invoice.json"

_LOOK_AROUND = """
import os, socket
names = ", ".join(name for _, name in socket.if_nameindex())
print(f"interfaces: {names}; connecting to 127.0.0.1: {os.strerror(socket.socket().connect_ex(('127.0.0.1', 9)))}")
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `maestro verify` answered: its exit status and its words."""

    status: int
    text: str

    @property
    def is_verified(self) -> bool:
        """Whether every file is as it was signed."""
        return self.status == 0


@dataclass(frozen=True, slots=True)
class Isolation:
    """How a command is cut off from the network. An empty `prefix` means that it is not; `words` say which it is."""

    prefix: tuple[str, ...]
    words: str


def find_isolation() -> Isolation:
    """Return the way to an empty network namespace that this machine allows."""
    tool = shutil.which("unshare")
    flags = ("--net",) if os.geteuid() == 0 else ("--map-root-user", "--net")
    if tool is None:
        return Isolation((), "no network namespace: unshare is not installed")
    prefix = (tool, *flags, "--")
    tried = _run((*prefix, sys.executable, "-c", _LOOK_AROUND))
    if tried.returncode != 0:
        return Isolation((), f"no network namespace: this machine does not allow one ({tried.stderr.strip()})")
    return Isolation(prefix, f"an empty network namespace ({tried.stdout.strip()})")


def verify(folder: Path, key: Path, isolation: Isolation) -> Verdict:
    """Run `maestro verify` on `folder` against the public key in the PEM file `key`."""
    command = (sys.executable, "-P", "-m", "deploy.local", "verify", str(folder), "--key", str(key))
    done = _run((*isolation.prefix, *command))
    return Verdict(done.returncode, (done.stdout + done.stderr).strip())


def copy_of(folder: Path, target: Path) -> Path:
    """Copy `folder` to `target`, in place of what lies there; return `target`."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target))


def flip_one_byte(file: Path) -> int:
    """Change the lowest bit of the byte in the middle of `file`; return its position."""
    content = bytearray(file.read_bytes())
    position = len(content) // 2
    content[position] ^= 1
    file.write_bytes(content)
    return position


def _run(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=WITHIN_S
    )
