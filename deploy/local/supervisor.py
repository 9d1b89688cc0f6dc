"""The supervisor: one background process that starts the parts in order, keeps them running and stops them in reverse.

Only one runs per state folder: it holds a lock on `run/supervisor.lock` as long as it lives. What a supervisor that was
killed left running is found in its record by process id and start time, and ended before anything is started.

If the state folder is removed under it, nobody could find the processes any more: it ends them and itself.

Signals: SIGTERM and SIGINT stop the stack; SIGHUP tries again what was given up; SIGUSR1 restarts, one after the other,
the parts that `run/restart.json` names.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deploy.local import processes
from deploy.local.errors import NotOurs
from deploy.local.logs import rotate
from deploy.local.parts import Part
from deploy.local.places import Places
from deploy.local.restarts import RestartPolicy
from deploy.local.status import Board, read_status
from deploy.local.tending import Tender

LOOK_AGAIN_S = 0.02
CHECK_EVERY_S = 5.0  # at 20 MB/s of log a file passes its bound by 100 MB at most


@contextmanager
def only_one(places: Places, *, within_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of the one supervisor of this state folder, waiting for it up to `within_s` seconds.

    Raises:
        NotOurs: another supervisor holds it.
    """
    last_try = time.monotonic() + within_s
    with (places.run / "supervisor.lock").open("w") as lock:
        while not _locked(lock):
            if time.monotonic() > last_try:
                raise NotOurs(f"a supervisor runs already for {places.home}", fix="maestro status")
            time.sleep(LOOK_AGAIN_S)
        yield


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end_orphans(places: Places) -> list[str]:
    """End what a supervisor that is gone left running; the names of the parts that were ended (blocking)."""
    left = read_status(places)
    if left is None or left.supervisor.is_alive():
        return []
    orphans = [part for part in reversed(left.parts) if part.process and part.process.is_alive()]
    for part in orphans:
        assert part.process is not None
        processes.stop(part.process, signal.Signals(part.stop_signal), part.stop_grace_s)
    return [part.name for part in orphans]


def start_order(parts: Sequence[Part]) -> list[Part]:
    """The parts, each after everything that it needs.

    Raises:
        ValueError: a part needs one that is not there, or parts need each other in a circle.
    """
    ordered: list[Part] = []
    left = list(parts)
    while left:
        known = {part.name for part in ordered}
        free = [part for part in left if known.issuperset(part.needs)]
        if not free:
            raise ValueError(f"nothing can start first among {', '.join(part.name for part in left)}")
        ordered += free
        left = [part for part in left if part not in free]
    return ordered


class Supervisor:
    """Starts, keeps and stops a set of parts.

    Args:
        parts: what to run.
        places: folders of the stack.
        policy: when a part that died is started again.
        check_every_s: how often the logs' bound and the state folder are looked after.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        places: Places,
        policy: RestartPolicy | None = None,
        check_every_s: float = CHECK_EVERY_S,
    ) -> None:
        ordered = start_order(parts)
        identity = processes.identity_of(os.getpid())
        assert identity is not None
        self._places = places
        self._check_every_s = check_every_s
        self._board = Board(places, identity, tuple(part.name for part in ordered))
        self._tenders: dict[str, Tender] = {}
        for part in ordered:
            needs = [self._tenders[name] for name in part.needs]
            self._tenders[part.name] = Tender(part, places, self._board, needs, policy or RestartPolicy())

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the parts running until `stop` is set or the state folder is lost, then stop them in reverse."""
        keepers = [asyncio.create_task(tender.tend()) for tender in self._tenders.values()]
        keepers.append(asyncio.create_task(self._look_after_folder()))
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a part's keeper never returns: if one ended, its error is ours
        finally:
            for task in [stopping, *keepers]:
                task.cancel()
            await asyncio.gather(stopping, *keepers, return_exceptions=True)
            await self._stop_all()

    def retry_failed(self) -> None:
        """Try again what was given up."""
        for tender in self._tenders.values():
            tender.retry()

    async def roll(self, names: Sequence[str]) -> None:
        """Restart parts one after the other, in the order in which they start; the first that fails ends it."""
        for tender in [one for name, one in self._tenders.items() if name in names]:
            if not await tender.restart():
                return

    async def _stop_all(self) -> None:
        """Stop every part after all that need it; those that do not need each other stop together."""
        left = list(self._tenders.values())
        while left:
            needed = {name for tender in left for name in tender.part.needs}
            free = [tender for tender in left if tender.part.name not in needed]
            await asyncio.gather(*(tender.stop() for tender in free))
            left = [tender for tender in left if tender not in free]

    async def _look_after_folder(self) -> None:
        """Bound the logs; return when the state folder was removed or belongs to another supervisor."""
        while self._board.is_ours():
            for log in self._places.logs.glob("*.log"):
                await asyncio.to_thread(rotate, log)
            await asyncio.sleep(self._check_every_s)


def restart_file(places: Places) -> Path:
    """Where the names of the parts lie that are to be restarted."""
    return places.run / "restart.json"


def named_for_restart(places: Places) -> list[str]:
    """The parts that the last request for a restart names."""
    return [str(name) for name in json.loads(restart_file(places).read_text())]


async def supervise(parts: Sequence[Part], places: Places, policy: RestartPolicy | None = None) -> None:
    """Run the parts until a signal asks for the end."""
    stop = asyncio.Event()
    supervisor = Supervisor(parts, places, policy)
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, stop.set)
    loop.add_signal_handler(signal.SIGHUP, supervisor.retry_failed)
    rolls: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive

    def roll() -> None:
        task = asyncio.create_task(supervisor.roll(named_for_restart(places)))
        rolls.add(task)
        task.add_done_callback(rolls.discard)

    loop.add_signal_handler(signal.SIGUSR1, roll)
    await supervisor.run(stop)
