"""`maestro demo` and `make demo`: bring the stack up, run Hello-Tenant on it, say where everything is."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from deploy.local import verbs
from deploy.local.places import find_places, state_folder
from deploy.local.status import live_status
from samples.hello_tenant import report
from samples.hello_tenant.demo import Outcome, run_demo
from samples.hello_tenant.habits import HELLO_TENANTS, scaled
from samples.hello_tenant.maestro_http import NotInTime, Refused
from samples.hello_tenant.months import wait_for_room
from samples.hello_tenant.processes import DidNotStart
from samples.hello_tenant.screen import Screen
from samples.hello_tenant.stack import Stack, stack_of
from samples.hello_tenant.steps import scene_of

TYPED_AT_SETTING: Final = "MAESTRO_TYPED_AT"
"""Unix time at which `make demo` was typed; set by the Makefile, so that set-up counts too."""

INTERRUPTED: Final = 130  # what shells answer for a program that SIGINT ended
_LOADED_AT: Final = time.time()


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demo; 0 only if everything held. The stack stays up. Raises StackError where it cannot start."""
    share = _load_share(arguments)
    screen = Screen()
    screen.headline("1. The stack: PostgreSQL, Valkey, Kafka, then every service as its own process")
    if verbs.up() != verbs.OK:
        return 1
    places = find_places(state_folder(os.environ))
    status = live_status(places)
    assert places is not None
    assert status is not None
    typed_at = float(os.environ.get(TYPED_AT_SETTING) or _LOADED_AT)
    try:
        outcome = play(screen, stack_of(places, status), share, typed_at)
    except (Refused, NotInTime, DidNotStart) as problem:
        screen.check(False, str(problem))
        screen.line("try: .venv/bin/maestro status")
        return 1
    except KeyboardInterrupt:
        screen.line("the demo was stopped; the stack stays up (make down ends it)")
        return INTERRUPTED
    return 1 if outcome.broken else 0


def play(screen: Screen, stack: Stack, share: float, typed_at: float) -> Outcome:
    """Run the demo with that share of its load on a stack that is up, and say the last lines."""
    _wait_for_room(screen)
    habits = tuple(scaled(one, share) for one in HELLO_TENANTS)
    with scene_of(stack, screen, habits) as scene:
        outcome = run_demo(scene, typed_at)
    commands = report.commands_to_try(stack, scene.folder, outcome.cast.tenants[0].tenant_id)
    report.show_verdict(screen, outcome.broken)
    report.say_goodbye(screen, stack, scene.folder, commands)
    return outcome


def _load_share(arguments: Sequence[str]) -> float:
    parser = argparse.ArgumentParser(prog="maestro demo", description="Run Hello-Tenant from request to invoice.")
    parser.add_argument(
        "--load", type=float, default=1.0, metavar="SHARE", help="share of the calls to make, such as 0.3 (default: 1)"
    )
    share: float = parser.parse_args(list(arguments)).load
    if share <= 0:
        parser.error("--load must be above 0")
    return share


def _wait_for_room(screen: Screen) -> None:
    left = wait_for_room(datetime.now(UTC))
    if left:
        with screen.wait(f"the month is about to change; the demo starts in {left.total_seconds():.0f} s"):
            time.sleep(left.total_seconds())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
