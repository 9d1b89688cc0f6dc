"""`maestro demo` and `make demo`: bring the stack up, run Hello-Tenant on it, say where everything is."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from deploy.local.accounts import unprivileged_account
from deploy.local.control import bring_up
from deploy.local.errors import StackError
from deploy.local.places import Places, lay_places, state_folder
from deploy.local.status import StackStatus
from samples.hello_tenant import report
from samples.hello_tenant.demo import Outcome, run_demo
from samples.hello_tenant.maestro_http import Maestro, NotInTime, Refused
from samples.hello_tenant.months import wait_for_room
from samples.hello_tenant.processes import DidNotStart
from samples.hello_tenant.profile import HELLO_TENANTS
from samples.hello_tenant.screen import Screen
from samples.hello_tenant.stack import stack_of
from samples.hello_tenant.steps import Scene, new_run_id

TYPED_AT_SETTING: Final = "MAESTRO_TYPED_AT"
"""Unix time at which `make demo` was typed; set by the Makefile, so that set-up counts too."""

_LOADED_AT: Final = time.time()


def main() -> int:
    """Run the demo; 0 only if everything held. The stack stays up."""
    screen = Screen()
    typed_at = float(os.environ.get(TYPED_AT_SETTING) or _LOADED_AT)
    try:
        places, status = start_stack(screen, os.environ)
        outcome = play(screen, places, status, typed_at)
    except StackError as problem:
        screen.check(False, problem.message)
        screen.line(f"try: {problem.fix}")
        return 1
    except (Refused, NotInTime, DidNotStart) as problem:
        screen.check(False, str(problem))
        screen.line("try: .venv/bin/maestro status")
        return 1
    return 1 if outcome.broken else 0


def start_stack(screen: Screen, environ: Mapping[str, str]) -> tuple[Places, StackStatus]:
    """Bring the stack up where it is not; return its folders and its record. Raises StackError."""
    screen.headline("1. The stack: PostgreSQL, Valkey, Kafka, then every service as its own process")
    places = lay_places(state_folder(environ), unprivileged_account(environ))
    with screen.wait("the stack starts") as wait:

        def watch(status: StackStatus) -> None:
            ready = [part.name for part in status.parts if part.phase == "ready"]
            waiting = ", ".join(
                f"{part.name} {part.detail or part.phase}" for part in status.parts if part.phase != "ready"
            )
            wait.say(waiting or "the stack is up", len(ready), len(status.parts))

        status = bring_up(places, environ, watch)
    screen.table("", ("part", "address"), [(part.name, part.address) for part in status.parts])
    return places, status


def play(screen: Screen, places: Places, status: StackStatus, typed_at: float) -> Outcome:
    """Run the demo on a stack that is up, and say the last lines."""
    _wait_for_room(screen)
    stack, run_id = stack_of(places, status), new_run_id()
    folder = places.home / "demo" / run_id
    folder.mkdir(parents=True, mode=0o700)
    maestro = Maestro(stack)
    scene = Scene(stack, maestro, screen, run_id, folder, HELLO_TENANTS, datetime.now(UTC))
    outcome = run_demo(scene, free_port(), typed_at)
    maestro.close_client()
    commands = report.commands_to_try(stack, folder, outcome.cast.tenants[0].tenant_id)
    report.say_goodbye(screen, stack, folder, commands)
    return outcome


def _wait_for_room(screen: Screen) -> None:
    left = wait_for_room(datetime.now(UTC))
    if left:
        with screen.wait(f"the month is about to change; the demo starts in {left.total_seconds():.0f} s"):
            time.sleep(left.total_seconds())


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
