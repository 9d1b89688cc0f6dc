"""The program of the background supervisor: `python -m deploy.local.supervise`, started by `maestro up`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.parts import Part
from deploy.local.places import Places
from deploy.local.plan import plan_parts
from deploy.local.restarts import RestartPolicy
from deploy.local.supervisor import end_orphans, only_one, supervise

Plan = Callable[[Places, Mapping[str, str]], Sequence[Part]]


def main(home: Path, plan: Plan = plan_parts, policy: RestartPolicy | None = None) -> int:
    """Run the stack whose folders lie in `home` until it is asked to stop; 1 if it cannot run at all."""
    places = Places(home)
    try:
        with only_one(places):
            for name in end_orphans(places):
                sys.stderr.write(f"ended {name}, left running by a supervisor that is gone\n")
            asyncio.run(supervise(plan(places, os.environ), places, policy))
    except StackError as problem:
        sys.stderr.write(f"{problem.message}\n{problem.fix}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
