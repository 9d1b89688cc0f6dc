"""A service as a process that dies once at a named place and is started again, as a supervisor does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from libs.runtime.background import background

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Restarted:
    """`python -m services.<name>`, started again whenever it ends. `exits` holds how it ended so far."""

    service: str
    environment: dict[str, str]
    log: Path
    address: str
    exits: list[int] = field(default_factory=list)

    async def run(self) -> None:
        """Start it, and again, until cancelled; then kill it."""
        while True:
            with self.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", f"services.{self.service}", cwd=CHECKOUT, env=self.environment, stderr=log
                )
            try:
                self.exits.append(await process.wait())
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGKILL)
                    await process.wait()


@asynccontextmanager
async def dying_at(place: str, service: str, told: dict[str, str], folder: Path) -> AsyncIterator[Restarted]:
    """Run the service such that it kills itself once at `place`, and is started again, until the block ends.

    Several places are separated by commas: it dies once at each.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = {
        "MAESTRO_PORT": str(port),
        "MAESTRO_CRASH_AT": ",".join(f"{one}:{folder / f'died-at-{one}'}" for one in place.split(",")),
    }
    environment = {**os.environ, **told, **own}
    runner = Restarted(service, environment, folder / f"{service}.log", f"http://127.0.0.1:{port}")
    async with background(service, runner.run()):
        yield runner
