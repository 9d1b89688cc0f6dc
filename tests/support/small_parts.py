"""Parts made of tiny programs, for tests of the supervisor: they start in milliseconds and do one thing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.parts import Launch, NotReady, Say

LIVES = "import signal, sys, pathlib; pathlib.Path(sys.argv[1]).write_text('up'); signal.sigwait([signal.SIGTERM])"
IGNORES_TERM = (
    "import signal, sys, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path(sys.argv[1]).write_text('up'); signal.pause()"
)


@dataclass(slots=True)
class SmallPart:
    """A program that is ready once it has written its sign.

    `program` is Python source; its first argument is the path of the sign.
    """

    name: str
    folder: Path
    program: str = LIVES
    needs: tuple[str, ...] = ()
    ready_within_s: float = 10.0
    waits_for: str = "its sign"
    stop_grace_s: float = 5.0
    prepared: list[str] = field(default_factory=list)

    @property
    def sign(self) -> Path:
        return self.folder / f"{self.name}.sign"

    def prepare(self, say: Say) -> None:
        say("prepares")
        self.sign.unlink(missing_ok=True)
        self.prepared.append(self.name)

    def launch(self) -> Launch:
        argv: Sequence[str] = [sys.executable, "-S", "-c", self.program, str(self.sign)]
        return Launch(argv=argv, env={"PATH": "/usr/bin:/bin"}, cwd=self.folder, stop_grace_s=self.stop_grace_s)

    async def probe(self) -> None:
        if not self.sign.exists():
            raise NotReady("no sign yet")

    async def after_ready(self) -> None:
        return

    def address(self) -> str:
        return f"sign:{self.name}"
