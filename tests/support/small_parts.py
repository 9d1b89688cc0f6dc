"""Parts made of tiny programs, for tests of the supervisor: they start in milliseconds and do one thing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.parts import Launch, NotReady, Part, Say
from deploy.local.places import Places, lay_places
from deploy.local.restarts import RestartPolicy
from deploy.local.status import PartStatus, Phase, read_status
from deploy.local.supervisor import Supervisor

SIGN = "import os, pathlib, signal, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
LIVES = SIGN + "signal.sigwait([signal.SIGTERM])"
NOTES_ITS_END = (
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
    + SIGN
    + (
        "signal.sigwait([signal.SIGTERM]);"
        "open(pathlib.Path(sys.argv[1]).with_name('ends'), 'a').write(pathlib.Path(sys.argv[1]).stem + ' ')"
    )
)
IGNORES_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SIGN + "signal.pause()"
NEVER_SIGNS = "import signal; signal.sigwait([signal.SIGTERM])"
DIES_TALKING = "[print('line', number) for number in range(12)]; raise SystemExit(7)"

WITHIN_S = 20.0
LOOK_S = 0.01
QUICK = RestartPolicy(first_delay_s=0.01, longest_delay_s=0.05)


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

    @property
    def sign(self) -> Path:
        return self.folder / f"{self.name}.sign"

    def prepare(self, say: Say) -> None:
        say("prepares")
        self.sign.unlink(missing_ok=True)
        with (self.folder / "starts").open("a") as starts:
            starts.write(f"{self.name} ")

    def launch(self) -> Launch:
        argv = (sys.executable, "-S", "-E", "-c", self.program, str(self.sign))
        return Launch(argv=argv, env={"PATH": "/usr/bin:/bin"}, cwd=self.folder, stop_grace_s=self.stop_grace_s)

    async def probe(self) -> None:
        if not self.sign.exists() or not self.sign.read_text():
            raise NotReady("no sign yet")

    async def after_ready(self) -> None:
        return

    def address(self) -> str:
        return f"sign:{self.name}"


@dataclass(slots=True)
class RunningStack:
    """A supervisor of small parts, run by the test's own event loop."""

    places: Places
    supervisor: Supervisor
    keeping: asyncio.Task[None]

    def part(self, name: str) -> PartStatus:
        """What the record on disk says of one part."""
        record = read_status(self.places)
        assert record is not None
        part = record.part(name)
        assert part is not None
        return part

    async def reaches(
        self, name: str, phase: Phase, where: Callable[[PartStatus], bool] = lambda _: True
    ) -> PartStatus:
        """Wait until the part is in the phase (and `where` holds); its status then."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            part = self.part(name)
            if part.phase is phase and where(part):
                return part
            await asyncio.sleep(LOOK_S)
        raise AssertionError(f"{name} did not become {phase} within {WITHIN_S} s: {self.part(name)}")


def places_in(folder: Path) -> Places:
    """Folders of a stack of its own."""
    return lay_places(folder / "state", None)


@asynccontextmanager
async def running(folder: Path, *parts: Part, policy: RestartPolicy = QUICK) -> AsyncIterator[RunningStack]:
    """Supervise the parts until the block is over, then stop them."""
    places = places_in(folder)
    supervisor = Supervisor(parts, places, policy, check_every_s=LOOK_S)
    stop = asyncio.Event()
    keeping = asyncio.create_task(supervisor.run(stop))
    try:
        yield RunningStack(places, supervisor, keeping)
    finally:
        stop.set()
        await keeping
