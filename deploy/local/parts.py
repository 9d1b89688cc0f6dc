"""What the supervisor knows of a part of the stack: how to prepare it, start it, and ask it whether it is ready."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local.accounts import Account

Say = Callable[[str], None]
"""Tells people what is being done now; may raise Stopped where the work should end."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One process to start.

    `stop_signal` asks it to end, and `stop_grace_s` seconds later it is killed. With an account it runs under that one.
    `also_at` is where it listens beside its address, and what is spoken there.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 10.0
    also_at: str = ""


class NotReady(Exception):  # a state that passes, said by a probe, not an error
    """The part has not answered as a ready one yet; the text says what came instead."""


def not_ready(problem: Exception) -> NotReady:
    """What a failed probe says, in words: nobody listens yet, or the problem's own text."""
    listens = not isinstance(problem, ConnectionRefusedError | FileNotFoundError)
    return NotReady(str(problem) or type(problem).__name__ if listens else "it does not listen yet")


class Part(Protocol):
    """A part of the stack. One that is a system server of somebody else has no process: `launch` returns None."""

    @property
    def name(self) -> str:
        """The name in tables, log files and commands."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the parts that must be ready before this one is prepared."""

    @property
    def ready_within_s(self) -> float:
        """How long after its start the part may take to answer before that counts as a failure."""

    @property
    def waits_for(self) -> str:
        """What the readiness probe asks, as words for the progress line."""

    def prepare(self, say: Say) -> None:
        """Everything that must exist before the process starts; blocking, safe to repeat.

        Raises:
            StackError: it cannot be prepared, and trying again by itself would not help.
        """

    def launch(self) -> Launch | None:
        """The process to start now."""

    async def probe(self) -> None:
        """Return when the part answers as a ready one.

        Raises:
            NotReady: it does not answer yet.
        """

    async def after_ready(self) -> None:
        """What is done once the part answers and before anything that needs it starts; safe to repeat."""

    def address(self) -> str:
        """Where people find it: a URL, a host and port, a socket. Never holds a secret."""
