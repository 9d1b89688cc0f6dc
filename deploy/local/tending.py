"""One part from its first preparation to its end: prepare, start, ask until it answers, watch, start again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from typing import Unpack

from deploy.local import processes
from deploy.local.errors import PartFailed, StackError
from deploy.local.logs import open_log
from deploy.local.parts import NotReady, Part
from deploy.local.places import Places
from deploy.local.processes import Child
from deploy.local.restarts import Death, RestartPolicy
from deploy.local.status import Board, Changes, Phase

TICK_S = 0.05  # how often a process is looked at, and a starting one asked
RECHECK_S = 5.0  # how often a ready part is asked again, so that the record is no older than this
PROBE_BOUND_S = 10.0  # a probe that hangs is asked anew


class Stopped(Exception):  # the work ends because the stack does
    """The stack is being stopped: what prepares a part gives up."""


class Tender:
    """Keeps one part running.

    Args:
        part: what to keep.
        places: folders of the stack.
        board: the record that people read.
        needs: the tenders of the parts that must be ready first.
        policy: when to start it again.
    """

    def __init__(
        self, part: Part, places: Places, board: Board, needs: Sequence[Tender], policy: RestartPolicy
    ) -> None:
        self.part = part
        self.ready = asyncio.Event()
        self._log = places.log_of(part.name)
        self._board = board
        self._needs = needs
        self._policy = policy
        self._deaths: list[Death] = []
        self._retry = asyncio.Event()
        self._asked_anew = asyncio.Event()
        self._child: Child | None = None
        self._preparing: asyncio.Future[None] | None = None
        self._stopping = False

    async def tend(self) -> None:
        """Keep the part running until cancelled."""
        while True:
            await self._wait_for_needs()
            try:
                await self._start()
                self._say(phase=Phase.READY, detail="", answer="", fix="")
                self.ready.set()
                await self._wait_for_end()
            except StackError as problem:
                await self._give_up(problem.message, problem.fix)
            except _Died as death:
                await self._recover(str(death))
            except _Asked:
                await self._end_for_restart()

    async def restart(self) -> bool:
        """End the process as its stop signal does, start it again, and return whether it answers; no death is counted.

        One that is starting comes first to its end or to readiness; one that was given up is tried again.
        """
        if self._board[self.part.name].phase is not Phase.FAILED:
            self._asked_anew.set()
        self._retry.set()
        while self._asked_anew.is_set() or not self.ready.is_set():
            if self._board[self.part.name].phase is Phase.FAILED and not self._retry.is_set():
                self._asked_anew.clear()
                return False
            await asyncio.sleep(TICK_S)
        return True

    def retry(self) -> None:
        """Try a part again that was given up."""
        self._retry.set()

    async def stop(self) -> None:
        """End the process and everything that prepares one; call after `tend` was cancelled."""
        self._stopping = True
        if self._preparing is not None:
            await asyncio.wait([self._preparing])
        if self._child is not None:
            self._say(phase=Phase.STOPPING, detail="")
        await self._end_process()
        self._say(phase=Phase.STOPPED, detail="")

    async def _wait_for_needs(self) -> None:
        if not all(need.ready.is_set() for need in self._needs):
            self._say(phase=Phase.WAITING, detail=f"waits for {', '.join(self.part.needs)}")
        for need in self._needs:
            await need.ready.wait()

    async def _start(self) -> None:
        """Prepare, start, and return when the part answers as a ready one."""
        was_up = self._board[self.part.name].restarts > 0
        self._say(phase=Phase.RESTARTING if was_up else Phase.PREPARING, detail="prepares")
        await self._prepare()
        launch = self.part.launch()
        self._say(address=self.part.address(), also_at=launch.also_at if launch else "")
        if launch is not None:
            with open_log(self._log) as log:
                self._child = processes.start(launch, log)
            self._say(
                process=self._child.identity, stop_signal=int(launch.stop_signal), stop_grace_s=launch.stop_grace_s
            )
            self._child.let_go()
        self._say(phase=Phase.STARTING, detail=f"waits for {self.part.waits_for}")
        await self._wait_until_ready()
        await self._finish_start()

    async def _prepare(self) -> None:
        loop = asyncio.get_running_loop()

        def say(text: str) -> None:  # called in the thread that prepares
            if self._stopping:
                raise Stopped
            loop.call_soon_threadsafe(lambda: self._say(detail=text))

        self._preparing = asyncio.ensure_future(asyncio.to_thread(self.part.prepare, say))
        await asyncio.shield(self._preparing)  # a thread cannot be cancelled: `stop` waits for it

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.part.ready_within_s
        while True:
            self._check_alive()
            answer = await self._ask()
            if answer is None:
                return
            self._check_alive()
            self._say(answer=answer)
            if time.monotonic() > deadline:
                raise PartFailed(f"is not ready {self.part.ready_within_s:.0f} s after its start: {answer}")
            await asyncio.sleep(TICK_S)

    async def _ask(self) -> str | None:
        """What the part answers instead of being ready; None if it is."""
        try:
            await asyncio.wait_for(self.part.probe(), PROBE_BOUND_S)
        except NotReady as answer:
            return str(answer)
        except TimeoutError:
            return f"no answer within {PROBE_BOUND_S:.0f} s"
        return None

    async def _finish_start(self) -> None:
        try:
            await self.part.after_ready()
        except OSError as problem:
            raise _Died(f"answered and then did not: {problem}") from problem

    def _check_alive(self) -> None:
        ending = self._child.ending() if self._child else None
        if ending:
            raise _Died(ending)

    async def _wait_for_end(self) -> None:
        """Return never: raise when the process ends or is to be restarted; meanwhile keep asking whether it answers."""
        asking = asyncio.create_task(self._keep_asking())
        try:
            while True:
                self._check_alive()
                if self._asked_anew.is_set():
                    raise _Asked
                await asyncio.sleep(TICK_S)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            answer = await self._ask()
            phase, detail = (Phase.READY, "") if answer is None else (Phase.SILENT, "runs and does not answer")
            self._say(phase=phase, detail=detail, answer=answer or "")

    async def _recover(self, how: str) -> None:
        was_ready = self.ready.is_set()
        self.ready.clear()
        await self._end_process()
        now = time.monotonic()
        self._deaths = [*self._policy.recent(self._deaths, now), Death(now, was_ready)]
        delay_s = self._policy.delay(self._deaths)
        if delay_s is None:
            await self._give_up(f"{how}, {len(self._deaths)} times within {self._policy.window_s:.0f} s")
            return
        restarts = self._board[self.part.name].restarts + 1
        self._say(phase=Phase.RESTARTING, detail=f"{how}; starts again in {delay_s:.1f} s", restarts=restarts)
        await asyncio.sleep(delay_s)

    async def _end_for_restart(self) -> None:
        self.ready.clear()
        self._say(phase=Phase.RESTARTING, detail="is asked to end")
        await self._end_process()
        self._asked_anew.clear()

    async def _give_up(self, why: str, fix: str = "") -> None:
        self.ready.clear()
        await self._end_process()
        self._say(phase=Phase.FAILED, detail=why, fix=fix or f"maestro logs {self.part.name}")
        self._retry.clear()
        await self._retry.wait()
        self._deaths = []
        self._say(phase=Phase.WAITING, detail="is tried again", fix="", restarts=0)

    async def _end_process(self) -> None:
        """Make sure that the process is gone, also one that runs on without answering."""
        if self._child is None:
            return
        status = self._board[self.part.name]
        stop_signal = signal.Signals(status.stop_signal)
        began = time.monotonic()
        by_itself = await asyncio.to_thread(processes.stop, self._child.identity, stop_signal, status.stop_grace_s)
        took_s = time.monotonic() - began
        self._child.popen.wait()
        self._child = None
        self._say(process=None, last_end=f"ended in {took_s:.1f} s" if by_itself else f"killed after {took_s:.1f} s")

    def _say(self, **changes: Unpack[Changes]) -> None:
        self._board.set(self.part.name, **changes)


class _Died(Exception):  # an event of a part's life, handled where the life is
    """The process ended; the text says how."""


class _Asked(Exception):  # likewise
    """Somebody asked for a restart."""
