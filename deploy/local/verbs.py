"""The verbs that change something: up, restart and down. Each returns the exit status."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console

from deploy.local.accounts import unprivileged_account
from deploy.local.checks import Verdict, check_first
from deploy.local.control import bring_up, cut_off, take_down
from deploy.local.control import restart as roll
from deploy.local.errors import Missing, NotOurs
from deploy.local.places import Places, find_places, lay_places, state_folder
from deploy.local.screens import Progress, open_console, show_failure, show_table, shown
from deploy.local.services import SERVICES
from deploy.local.status import Phase, StackStatus, live_status

OK, FAILED = 0, 1
ROLLED = (Phase.RESTARTING, Phase.STARTING, Phase.READY, Phase.FAILED)


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
    if said := cut_off(places):
        console.print(said, highlight=False, soft_wrap=True)
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
    _say_moved(console, status)
    _say_next(console, places)
    return OK


def _refuse_if_missing() -> None:
    """Raise the first of the missing prerequisites (all are shown by `maestro doctor`)."""
    for finding in check_first(os.environ):
        if finding.verdict is Verdict.MISSING:
            raise Missing(f"{finding.subject}: {finding.found}", fix=finding.fix)


def _say_moved(console: Console, status: StackStatus) -> None:
    """Name the services that are not where documents say they are."""
    for service in SERVICES:
        part = status.part(service.name)
        if part is not None and not part.address.endswith(f":{service.port}"):
            console.print(
                f"{service.name} is at {part.address}: port {service.port} was taken", highlight=False, soft_wrap=True
            )


def _say_next(console: Console, places: Places) -> None:
    console.print(f"operator key: {shown(str(places.operator_key))}", highlight=False, soft_wrap=True)
    console.print("next: maestro demo | maestro status | maestro logs metering -f | maestro down", highlight=False)


def restart(names: Sequence[str]) -> int:
    """Restart parts one after the other; all services where none is named."""
    console = open_console()
    places = find_places(state_folder(os.environ))
    if places is None:
        raise NotOurs(f"nothing was set up in {state_folder(os.environ)}", fix="maestro up")
    chosen = tuple(dict.fromkeys(names)) or tuple(service.name for service in SERVICES)
    with Progress(console, only=ROLLED) as progress:
        status = roll(places, chosen, progress)
    for part in status.failed():
        show_failure(console, part, places)
    ends = [f"{part.name} {part.last_end}" for part in status.parts if part.name in chosen]
    console.print(f"after {progress.elapsed_s():.1f} s: " + shown(", ".join(ends)), highlight=False, soft_wrap=True)
    return FAILED if status.failed() else OK


def down() -> int:
    """Stop the stack."""
    console = open_console()
    with Progress(console, only=(Phase.STOPPING, Phase.STOPPED)) as progress:
        did_run = take_down(find_places(state_folder(os.environ)), progress)
    console.print("the stack is down; no process is left" if did_run else "nothing was running", highlight=False)
    return OK
