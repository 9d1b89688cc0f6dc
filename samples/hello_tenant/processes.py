"""The two processes of the demo beside the stack: the gateway and the load client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.local import processes
from deploy.local.parts import Launch

CHECKOUT = Path(__file__).resolve().parents[2]
Progress = Callable[[str, int, int], None]
"""Told (phase, done, total) of the load."""

READY_WITHIN_S = 60.0  # an interpreter and its imports; seconds on a busy machine
ASK_EVERY_S = 0.1
STOP_GRACE_S = 30.0  # the gateway sends on what it still holds
LOG_TAIL_CHARS = 1500


class DidNotStart(Exception):
    """A process of the demo ended or stayed silent; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running demo gateway."""

    url: str
    log: Path

    def flush(self) -> dict[str, int]:
        """Have it send on all that it holds; return its counts."""
        response = httpx.post(f"{self.url}/-/flush", timeout=300, trust_env=False)
        response.raise_for_status()
        counts: dict[str, int] = response.json()
        return counts


@contextmanager
def serving(module: str, arguments: Sequence[str], log: Path) -> Iterator[Gateway]:
    """Run `python -m module` until the block is over; it is ready when its /healthz answers.

    The process ends with this one, however this one ends. Raises DidNotStart.
    """
    port = free_port()
    launch = Launch(
        argv=(sys.executable, "-m", module, *arguments, "--port", str(port)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "libs/sdk_python/src")))},
        cwd=CHECKOUT,
    )
    with log.open("ab") as output:
        child = processes.start(launch, output, die_with_parent=True)
        child.let_go()
    gateway = Gateway(f"http://127.0.0.1:{port}", log)
    try:
        _wait_until_healthy(gateway, child)
        yield gateway
    finally:
        processes.stop(child.identity, signal.SIGTERM, STOP_GRACE_S)
        child.popen.wait()


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(gateway: Gateway, child: processes.Child) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        ending = child.ending()
        if ending is not None:
            raise DidNotStart(f"the gateway {ending}\n{_tail(gateway.log)}")
        try:
            httpx.get(f"{gateway.url}/healthz", timeout=2, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(ASK_EVERY_S)
        else:
            return
    raise DidNotStart(f"the gateway did not answer within {READY_WITHIN_S:.0f} s\n{_tail(gateway.log)}")


def run_load(plan: Path, result: Path, log: Path, progress: Progress) -> dict[str, Any]:
    """Run the load client to its end; tell its progress; return what it counted. Raises DidNotStart."""
    command = [sys.executable, "-m", "samples.hello_tenant.load", str(plan), str(result)]
    with (
        log.open("ab") as output,
        subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=output, text=True) as client,
    ):
        assert client.stdout is not None
        try:
            for line in client.stdout:
                told = json.loads(line)
                progress(told["phase"], told["done"], told["total"])
            client.wait()
        finally:
            client.kill()
    if client.returncode != 0:
        raise DidNotStart(f"the load client exited with code {client.returncode}\n{_tail(log)}")
    counted: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return counted


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARS:]
