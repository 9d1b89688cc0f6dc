"""Processes by identity: an id alone may have gone to another program, an id with its start time has not.

The start time is field 22 of /proc/<pid>/stat, in clock ticks since the machine started (proc(5)).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.local.parts import Launch

POLL_S = 0.05  # how often an ending process is looked at
PR_SET_PDEATHSIG = 1  # prctl(2)
KILL_WAIT_S = 5.0  # a killed process is gone at once unless it hangs in the kernel

START_TIME_FIELD = 19  # field 22 of stat(5), counted from the state, the first one after the name in brackets


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for all time: its id and when it started (clock ticks)."""

    pid: int
    started_ticks: int

    def is_alive(self) -> bool:
        """Whether this very process still runs; one that has ended and waits to be collected does not."""
        return identity_of(self.pid) == self

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal to this very process; nothing happens if it has ended."""
        if not self.is_alive():
            return
        try:
            os.kill(self.pid, signal_number)
        except ProcessLookupError:
            return


def identity_of(pid: int) -> Identity | None:
    """The identity of a running process, or None if no such process runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name may hold spaces and brackets
    return None if fields[0] in "ZX" else Identity(pid, int(fields[START_TIME_FIELD]))


def command_line(pid: int) -> str:
    """The arguments of a running process, joined by blanks; empty if no such process runs or it is not ours to read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def start(launch: Launch, log: IO[bytes], *, die_with_parent: bool = False) -> subprocess.Popen[bytes]:
    """Start the process in a session of its own, so that a Ctrl-C at the terminal does not reach it.

    With `die_with_parent` the kernel asks it to end when the calling thread ends, however that ends: for servers that a test
    session owns. The stack's own parts outlive a supervisor that dies, and the next one finds them.
    """
    account = launch.account
    libc = ctypes.CDLL(None, use_errno=True)

    def tie_to_parent() -> None:  # runs in the child, after it has taken on its account
        libc.prctl(PR_SET_PDEATHSIG, launch.stop_signal)

    return subprocess.Popen(
        list(launch.argv),
        env=dict(launch.env),
        cwd=launch.cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        preexec_fn=tie_to_parent if die_with_parent else None,  # noqa: PLW1509 - one system call, no lock is taken
    )


def stop(identity: Identity, stop_signal: signal.Signals, grace_s: float) -> None:
    """Ask the process to end, wait `grace_s` seconds, then kill it; returns when it is gone (blocking)."""
    identity.send(stop_signal)
    if not wait_gone(identity, grace_s):
        identity.send(signal.SIGKILL)
        wait_gone(identity, KILL_WAIT_S)


def wait_gone(identity: Identity, within_s: float) -> bool:
    """Wait until the process has ended; False if it still runs after `within_s` seconds (blocking)."""
    deadline = time.monotonic() + within_s
    while identity.is_alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
