"""The verbs of the stack: up, down, status, logs, doctor. Each returns the exit status."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.local.accounts import unprivileged_account
from deploy.local.control import bring_up, take_down
from deploy.local.errors import Missing
from deploy.local.logs import tail
from deploy.local.places import Places, find_places, lay_places, state_folder
from deploy.local.screens import Progress, open_console, show_failure, show_table
from deploy.local.status import PartStatus, Phase, StackStatus, live_status

OK, FAILED, NOT_RUNNING = 0, 1, 3  # 3 is what init scripts answer for a service that does not run
FOLLOW_EVERY_S = 0.2
VERDICT_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


def up() -> int:
    """Start the stack and wait until every part answers."""
    console = open_console()
    state = state_folder(os.environ)
    running = live_status(find_places(state))
    if running is not None and running.is_ready():
        console.print("the stack is up already; nothing was started", highlight=False)
        show_table(console, running)
        return OK
    _refuse_if_missing()
    places = lay_places(state, unprivileged_account(os.environ))
    try:
        with Progress(console) as progress:
            status = bring_up(places, os.environ, progress)
    except KeyboardInterrupt:
        console.print("the stack goes on starting in the background; maestro down stops it", highlight=False)
        return FAILED
    for part in status.failed():
        show_failure(console, part, places)
    if status.failed():
        return FAILED
    console.print(f"the stack is up after {progress.elapsed_s():.1f} s", highlight=False)
    show_table(console, status)
    _say_next(console, places)
    return OK


def _refuse_if_missing() -> None:
    """Raise the first of the missing prerequisites (all are shown by `maestro doctor`)."""
    from deploy.local.checks import Verdict, check_first  # noqa: PLC0415 - see `doctor`

    for finding in check_first(os.environ):
        if finding.verdict is Verdict.MISSING:
            raise Missing(f"{finding.subject}: {finding.found}", fix=finding.fix)


def _say_next(console: Console, places: Places) -> None:
    console.print(f"operator key: {places.operator_key}", highlight=False, soft_wrap=True)
    console.print("next: maestro demo | maestro status | maestro logs metering -f | maestro down", highlight=False)


def down() -> int:
    """Stop the stack."""
    console = open_console()
    with Progress(console, only=(Phase.STOPPING, Phase.STOPPED)) as progress:
        did_run = take_down(find_places(state_folder(os.environ)), progress)
    console.print("the stack is down; no process is left" if did_run else "nothing was running", highlight=False)
    return OK


def status(*, as_json: bool) -> int:
    """Show the parts."""
    state = state_folder(os.environ)
    running = live_status(find_places(state))
    if as_json:
        print(json.dumps(_document(state, running), indent=1))  # noqa: T201 - this is the output
    elif running is None:
        open_console().print(
            f"nothing is running in {state}; start it with: maestro up", highlight=False, soft_wrap=True
        )
    else:
        show_table(open_console(), running)
    return OK if running is not None and running.is_ready() else NOT_RUNNING


def _document(state: Path, running: StackStatus | None) -> dict[str, Any]:
    places = Places(state.resolve())
    return {
        "state": str(state),
        "ready": running is not None and running.is_ready(),
        "supervisor_pid": running.supervisor.pid if running else None,
        "operator_key_file": str(places.operator_key),
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
        "log": str(places.log_of(part.name)),
    }


def logs(part: str, lines: int, *, follow: bool) -> int:
    """Print the last lines of one log, or of all."""
    places = find_places(state_folder(os.environ))
    found = sorted(places.logs.glob(f"{part or '*'}.log")) if places else []
    if not found:
        known = ", ".join(sorted(path.stem for path in places.logs.glob("*.log"))) if places else ""
        raise Missing(f"there is no log of {part or 'any part'}", fix=f"one of: {known}" if known else "maestro up")
    ends = {path: path.stat().st_size for path in found}
    for path in found:
        for line in tail(path, lines):
            _print_line(path, line, named=len(found) > 1)
    try:
        while follow:
            time.sleep(FOLLOW_EVERY_S)
            ends = {path: _print_new(path, end, named=len(found) > 1) for path, end in ends.items()}
    except KeyboardInterrupt:
        return OK
    return OK


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
    print(f"{path.stem:10} {line}" if named else line, flush=True)  # noqa: T201 - this is the output


def doctor(*, as_json: bool) -> int:
    """Check every prerequisite."""
    # The checks know every server's client: half a second that status, logs and down do not wait for.
    from deploy.local.checks import Verdict, check_all  # noqa: PLC0415

    findings = check_all(os.environ)
    missing = [finding for finding in findings if finding.verdict is Verdict.MISSING]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))  # noqa: T201 - this is the output
        return FAILED if missing else OK
    console = open_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("check", "verdict", "found"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        colour = VERDICT_COLOURS[finding.verdict]
        table.add_row(finding.subject, f"[{colour}]{finding.verdict}[/]", escape(finding.found))
    console.print(table)
    for finding in findings:
        if finding.fix:
            console.print(f"[bold]{finding.subject}[/]: {escape(finding.fix)}", highlight=False, soft_wrap=True)
    console.print("nothing is missing" if not missing else f"{len(missing)} missing", highlight=False)
    return FAILED if missing else OK
