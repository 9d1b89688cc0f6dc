"""Bring the stack up, take it down, restart parts of it: what the verbs do, without a word on the screen."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from deploy.local import processes
from deploy.local.credentials import write_private
from deploy.local.errors import NotOurs, PartFailed
from deploy.local.logs import short_tail
from deploy.local.places import CHECKOUT, Places
from deploy.local.status import PartStatus, Phase, StackStatus, live_status, read_status
from deploy.local.supervisor import end_orphans, only_one, restart_file

Watch = Callable[[StackStatus], None]

SUPERVISOR_PROGRAM = "deploy.local.supervise"
LOOK_S = 0.1  # how often the record is read while something is awaited
RETRY_HEARD_WITHIN_S = 2.0  # a supervisor hears its signal at once
UP_WITHIN_S = 600.0  # a slow network may need minutes for the jars; each part has its own bound once it is started
DOWN_WITHIN_S = 90.0  # the longest graces one after the other: a service, the broker, the database
LOCK_WITHIN_S = 5.0  # a child without a supervisor ends itself in milliseconds, on any machine within this


def bring_up(
    places: Places, environ: Mapping[str, str], watch: Watch, program: str = SUPERVISOR_PROGRAM
) -> StackStatus:
    """Start what does not run, and return when every part answers.

    Args:
        places: folders of the stack.
        environ: the settings that the supervisor and the services get.
        watch: called with every new record meanwhile.
        program: the module that supervises.

    Returns:
        The last record: every part is ready, or some were given up.

    Raises:
        PartFailed: the supervisor itself could not run, or nothing was decided in time.
    """
    running = live_status(places)
    supervisor = None
    if running is None:
        supervisor = start_supervisor(places, environ, program)
    elif running.failed():
        _retry(running, places)
    return _await_ready(places, watch, supervisor)


def cut_off(places: Places) -> str | None:
    """What a person is told of a last run here that nobody stopped (its supervisor is gone), else None."""
    last = read_status(places)
    if last is None or last.supervisor.is_alive() or all(part.phase is Phase.STOPPED for part in last.parts):
        return None
    left = [part.name for part in last.parts if part.process and part.process.is_alive()]
    if left:
        return f"the last run here was cut off and left {', '.join(left)} running: they are ended, then all is started"
    return "the last run here was cut off: what it had begun is finished, or made anew"


def start_supervisor(places: Places, environ: Mapping[str, str], program: str) -> subprocess.Popen[bytes]:
    """Start the background supervisor in a session of its own."""
    with places.log_of("supervisor").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", program, str(places.home)],
            cwd=CHECKOUT,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _retry(running: StackStatus, places: Places) -> None:
    """Ask for another try of what was given up, and wait until the record shows that it was heard."""
    running.supervisor.send(signal.SIGHUP)
    _follow(places, _look_away, lambda status: status != running, RETRY_HEARD_WITHIN_S)


def _look_away(_status: StackStatus) -> None:
    """What was given up before is no news."""


def _await_ready(places: Places, watch: Watch, supervisor: subprocess.Popen[bytes] | None) -> StackStatus:
    def settled(status: StackStatus | None) -> bool:
        if status is None:
            return supervisor is None or supervisor.poll() is not None  # it ended, or it ended before our look
        return status.is_ready() or bool(status.failed())

    status = _follow(places, watch, settled, UP_WITHIN_S)
    if status is None:
        if supervisor is not None and supervisor.poll() is None:
            raise PartFailed("the supervisor does not answer", fix="maestro down")
        raise PartFailed("the supervisor ended: " + " / ".join(short_tail(places.log_of("supervisor"))[-3:]))
    if not status.is_ready() and not status.failed():
        raise PartFailed(f"the stack is not ready after {UP_WITHIN_S:.0f} s", fix="maestro status")
    return status


def _follow(
    places: Places, watch: Watch, until: Callable[[StackStatus | None], bool], within_s: float
) -> StackStatus | None:
    """Show every change of the record until `until` holds or the time is over; the last record."""
    deadline = time.monotonic() + within_s
    seen: StackStatus | None = None
    while True:
        status = live_status(places)
        if status is not None and status != seen:
            watch(status)
        seen = status
        if until(status) or time.monotonic() > deadline:
            return status
        time.sleep(LOOK_S)


def restart(places: Places, names: Sequence[str], watch: Watch) -> StackStatus:
    """Restart running parts one after the other, each once the one before answers.

    Args:
        places: folders of the stack.
        names: parts of it; the supervisor's order counts, not theirs.
        watch: called with every new record meanwhile.

    Returns:
        The last record: each of them is ready, or one failed and those after it were left alone.

    Raises:
        NotOurs: nothing runs here, or a name is no part with a process of its own.
        PartFailed: it was not decided in time.
    """
    before = live_status(places)
    if before is None:
        raise NotOurs(f"nothing is running in {places.home}", fix="maestro up")
    old = {name: _own_process(before, name) for name in names}
    write_private(restart_file(places), json.dumps(list(names)))
    before.supervisor.send(signal.SIGUSR1)

    def settled(status: StackStatus | None) -> bool:
        if status is None or status.failed():
            return True
        now = {part.name: part for part in status.parts}
        return all(now[name].phase is Phase.READY and now[name].process != old[name] for name in names)

    status = _follow(places, watch, settled, UP_WITHIN_S)
    if status is None:
        raise PartFailed("the supervisor ended", fix="maestro up")
    if not settled(status):
        raise PartFailed(f"the restart was not done after {UP_WITHIN_S:.0f} s", fix="maestro status")
    return status


def _own_process(status: StackStatus, name: str) -> processes.Identity | None:
    part = status.part(name)
    if part is None or (part.process is None and part.phase is Phase.READY):
        ours = ", ".join(one.name for one in status.parts if one.process)
        raise NotOurs(f"{name} is no part that runs here", fix=f"one of: {ours}")
    return part.process


def take_down(places: Places | None, watch: Watch) -> bool:
    """Stop everything that runs; returns when no process is left. False if nothing ran.

    Args:
        places: folders of the stack, None if it was never set up.
        watch: called with every new record meanwhile.

    Raises:
        PartFailed: a process is still there after it was killed.
    """
    if places is None:
        return False
    status = live_status(places)
    if status is not None:
        _end_supervisor(places, status, watch)
    # A child that was forked and not yet executed when its supervisor was killed holds the lock until it notices.
    with only_one(places, within_s=LOCK_WITHIN_S):
        orphans = end_orphans(places)
    left = [part.name for part in _record(places) if part.process and part.process.is_alive()]
    if left:
        raise PartFailed(f"still running after SIGKILL: {', '.join(left)}", fix="maestro status")
    return status is not None or bool(orphans)


def _end_supervisor(places: Places, status: StackStatus, watch: Watch) -> None:
    status.supervisor.send(signal.SIGTERM)
    _follow(places, watch, lambda now: now is None, DOWN_WITHIN_S)
    processes.stop(status.supervisor, signal.SIGTERM, grace_s=0.0)  # only one that hangs is still there


def _record(places: Places) -> tuple[PartStatus, ...]:
    record = read_status(places)
    return record.parts if record else ()
