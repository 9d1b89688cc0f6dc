"""The verbs that look: status and logs. Each returns the exit status, and loads no server's client."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.local.errors import Missing
from deploy.local.logs import tail
from deploy.local.observed import Observed, observe
from deploy.local.places import Places, find_places, state_folder
from deploy.local.screens import open_console, show_observed, show_table, shown
from deploy.local.status import PartStatus, StackStatus, live_status
from libs.runtime.printable import printable

OK, NOT_RUNNING = 0, 3  # 3 is what init scripts answer for a service that does not run
FOLLOW_EVERY_S = 0.2


def status(*, as_json: bool) -> int:
    """Show the parts, and how the services fare."""
    state = state_folder(os.environ)
    running = live_status(find_places(state))
    services = observe(running.parts) if running else []
    if as_json:
        sys.stdout.write(json.dumps(_document(state, running, services), indent=1) + "\n")
    elif running is None:
        open_console().print(
            f"nothing is running in {shown(str(state))}; start it with: maestro up", highlight=False, soft_wrap=True
        )
    else:
        console = open_console()
        show_table(console, running)
        console.print()
        show_observed(console, services)
    return OK if running is not None and running.is_ready() else NOT_RUNNING


def _document(state: Path, running: StackStatus | None, services: Sequence[Observed]) -> dict[str, Any]:
    places = Places(state.resolve())
    return {
        "state": str(state),
        "ready": running is not None and running.is_ready(),
        "supervisor_pid": running.supervisor.pid if running else None,
        "operator_key_file": str(places.operator_key),
        "services": [asdict(one) for one in services],
        "parts": [_part_document(part, places) for part in running.parts] if running else [],
    }


def _part_document(part: PartStatus, places: Places) -> dict[str, Any]:
    alive = part.process is not None and part.process.is_alive()
    return {
        "name": part.name,
        "state": part.phase.value,
        "detail": part.detail,
        "pid": part.process.pid if part.process else None,
        "uptime_s": round(part.process.uptime_s(), 1) if part.process and alive else None,
        "restarts": part.restarts,
        "address": part.address,
        "also_at": part.also_at,
        "log": str(places.log_of(part.name)),
    }


def logs(part: str, lines: int, *, follow: bool) -> int:
    """Print the last lines of one log, or of all."""
    found = _logs_of(part)
    ends = {path: path.stat().st_size for path in found}
    for path in found:
        for line in tail(path, lines):
            _print_line(path, line, named=len(found) > 1)
    if follow:
        _follow(ends)
    return OK


def _logs_of(part: str) -> list[Path]:
    places = find_places(state_folder(os.environ))
    known = sorted(places.logs.glob("*.log")) if places else []
    found = [path for path in known if part in ("", path.stem)]
    if not found:
        names = ", ".join(path.stem for path in known)
        raise Missing(f"there is no log of {part or 'any part'}", fix=f"one of: {names}" if names else "maestro up")
    return found


def _follow(ends: dict[Path, int]) -> None:
    """Print what is written from now on, until Ctrl-C."""
    try:
        while True:
            time.sleep(FOLLOW_EVERY_S)
            ends = {path: _print_new(path, end, named=len(ends) > 1) for path, end in ends.items()}
    except KeyboardInterrupt:
        return


def _print_new(path: Path, start: int, *, named: bool) -> int:
    """Print what came since `start`; where it ends now. A log that was cut short is read from its beginning."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(start if size >= start else 0)
        new = file.read()
    for line in new.decode(errors="replace").splitlines():
        _print_line(path, line, named=named)
    return size if size < start else start + len(new)


def _print_line(path: Path, line: str, *, named: bool) -> None:
    text = printable(line.expandtabs())  # as the file has it but for what a terminal would obey
    sys.stdout.write(f"{path.stem:10} {text}\n" if named else f"{text}\n")
    sys.stdout.flush()
