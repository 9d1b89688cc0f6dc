"""Looks into the archive for a request: in a thread, so many at once, so long each, and stopped when nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from services.metering.domain.archiving import ArchiveFile
from services.metering.errors import ArchiveAway, LookupsFull, LookupTooSlow
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.archive.looking import Look
from services.metering.store.archive.reading import Scope

MAX_LOOKS: Final = 2  # at once: DuckDB takes two cores and 256 MB for each
MAX_WAITING: Final = 6  # for one of these; who comes then is told to come back
LOOK_S: Final = 10.0  # for one question to DuckDB; then it is interrupted

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Turns:
    """Who may look now."""

    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_LOOKS))
    _present: int = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a turn, waiting for it; raise LookupsFull where too many wait."""
        if self._present >= MAX_LOOKS + MAX_WAITING:
            raise LookupsFull(f"{self._present} requests look into the archive", retry_after_s=2)
        self._present += 1
        try:
            async with self._free:
                yield
        finally:
            self._present -= 1


@dataclass(frozen=True, slots=True)
class Looking:
    """One request's look into the files of the archive."""

    folder: ArchiveFolder
    look: Look

    async def ask(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `work` returns, run in a thread; raise LookupTooSlow, with it stopped, once it takes too long."""
        job = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
        try:
            await asyncio.wait({job}, timeout=LOOK_S)
            if not job.done():
                raise LookupTooSlow(f"the archive did not answer within {LOOK_S:g} s: ask for less")
            return job.result()
        finally:
            if not job.done():
                self.look.interrupt()
                await asyncio.wait({job})
                job.exception()  # that it was interrupted; who asked is told otherwise

    async def locate(self, files: Sequence[ArchiveFile]) -> list[Path]:
        """Return where the files lie; raise ArchiveAway where one does not."""
        return await self.ask(lambda: [self.folder.locate(file) for file in files])


@asynccontextmanager
async def looking(turns: Turns, folder: ArchiveFolder | None, scope: Scope) -> AsyncIterator[Looking]:
    """Look at what is in `scope` while the block runs; raise ArchiveAway where no archive can be read from here."""
    if folder is None:
        raise ArchiveAway("no archive is kept by this process, and MAESTRO_ARCHIVE_DIR names no other's")
    async with turns.turn():
        with Look(scope) as look:
            yield Looking(folder, look)
