"""A service of the chaos stack: `python -m tests.chaos.service <name>` is `python -m services.<name>` and a bit more.

Its wall clock stands off the machine's by what lies in a file, and it may be sabotaged, to see that the suite notices.
Both are done to the process from here: the services know nothing of it.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from libs.runtime.clock import SystemClock
from tests.chaos import sabotage

FOLDER_SETTING: Final = "MAESTRO_CHAOS_FOLDER"
SABOTAGE_SETTING: Final = "MAESTRO_CHAOS_SABOTAGE"


def clock_file(folder: Path, service: str) -> Path:
    """Return where the seconds lie by which the service's clock is off; no file is no step."""
    return folder / f"clock.{service}"


def binding_file(folder: Path) -> Path:
    """Return where the settings lie that bind topics of usage to a key, JSON; no file is no binding."""
    return folder / "bound.json"


def bind_topics(file: Path) -> None:
    """Let the service find the settings in its environment: the key is made when the stack is up already."""
    if file.exists():
        os.environ.update(json.loads(file.read_text(encoding="utf-8")))


def step_clock(file: Path) -> None:
    """From now on every reading of the wall clock is off by the seconds in `file`."""
    right = SystemClock.now

    def now(self: SystemClock) -> datetime:
        try:
            off_s = float(file.read_text(encoding="utf-8") or 0)
        except FileNotFoundError:
            off_s = 0.0
        return right(self) + timedelta(seconds=off_s)

    SystemClock.now = now  # type: ignore[method-assign]


def main(service: str) -> None:
    """Run the service in this process."""
    folder = Path(os.environ[FOLDER_SETTING])
    step_clock(clock_file(folder, service))
    bind_topics(binding_file(folder))
    sabotage.apply(os.environ.get(SABOTAGE_SETTING, ""))
    sys.argv = [f"services.{service}"]
    runpy.run_module(f"services.{service}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
