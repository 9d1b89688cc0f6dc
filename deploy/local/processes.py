"""Processes by identity: an id alone may have gone to another program, an id with its start time has not.

The start time is field 22 of /proc/<pid>/stat, in clock ticks since the machine started (proc(5)).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.local.parts import Launch

POLL_S = 0.05  # how often an ending process is looked at
KILL_WAIT_S = 5.0  # a killed process is gone at once unless it hangs in the kernel

START_TIME_FIELD = 19  # field 22 of stat(5), counted from the state, the first one after the name in brackets
PR_SET_PDEATHSIG = 1  # prctl(2)

# The process waits for one line before it becomes the program, so that whoever started it can write its identity down
# first. If the starter dies in between, the pipe closes, `read` fails and nothing is left behind.
GATE = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "gate")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for all time: its id and when it started (clock ticks)."""

    pid: int
    started_ticks: int

    def is_alive(self) -> bool:
        """Whether this very process still runs; one that has ended and waits to be collected does not."""
        return identity_of(self.pid) == self

    def uptime_s(self) -> float:
        """Seconds since it started."""
        since_boot_s = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, since_boot_s - self.started_ticks / os.sysconf("SC_CLK_TCK"))

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


@dataclass(frozen=True, slots=True)
class Child:
    """A process that we started, held at its gate until `let_go`."""

    popen: subprocess.Popen[bytes]
    identity: Identity

    def let_go(self) -> None:
        """Let the process become its program."""
        gate = self.popen.stdin
        assert gate is not None
        try:
            gate.write(b"go\n")
            gate.close()
        except BrokenPipeError:
            return  # it was ended before it began; whoever waits for it sees that

    def ending(self) -> str | None:
        """How it ended, in words, or None while it runs."""
        code = self.popen.poll()
        if code is None:
            return None
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def start(launch: Launch, log: IO[bytes], *, die_with_parent: bool = False) -> Child:
    """Start the process in a session of its own, so that a Ctrl-C at the terminal does not reach it.

    With `die_with_parent` the kernel asks it to end when the calling thread ends, however that ends: for servers that a
    test session owns. The stack's own parts outlive a supervisor that dies; the next one finds them by their record.
    """
    account = launch.account
    tie = _tie_to_parent(launch.stop_signal) if die_with_parent else None
    popen = subprocess.Popen(
        [*GATE, *launch.argv],
        env=dict(launch.env),
        cwd=launch.cwd,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        preexec_fn=tie,  # noqa: PLW1509 - one system call between fork and exec; it takes no lock
    )
    identity = identity_of(popen.pid)
    assert identity is not None  # it waits at its gate
    return Child(popen, identity)


def _tie_to_parent(ending: signal.Signals) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def tie() -> None:  # runs in the child, after it has taken on its account
        libc.prctl(PR_SET_PDEATHSIG, ending)

    return tie


def stop(identity: Identity, stop_signal: signal.Signals, grace_s: float) -> bool:
    """Ask the process to end, wait `grace_s` seconds, then kill it; returns when it is gone (blocking).

    Returns:
        Whether it went without being killed.
    """
    identity.send(stop_signal)
    if wait_gone(identity, grace_s):
        return True
    identity.send(signal.SIGKILL)
    wait_gone(identity, KILL_WAIT_S)
    return False


def wait_gone(identity: Identity, within_s: float) -> bool:
    """Wait until the process has ended; False if it still runs after `within_s` seconds (blocking)."""
    deadline = time.monotonic() + within_s
    while identity.is_alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
