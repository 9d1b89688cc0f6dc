"""Named places where a process can be told to die, so that tests kill it exactly there.

`MAESTRO_CRASH_AT=<name>:<marker file>` kills this process by SIGKILL the first time it passes the place; the marker is
made just before, so that the restarted process goes on. Several such pairs are separated by commas. Without the
variable a crash point costs one look-up.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class _CrashSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MAESTRO_", extra="ignore")

    crash_at: str = ""


def _marker_of_place(text: str) -> dict[str, Path]:
    pairs = (pair.partition(":") for pair in text.split(",") if pair)
    return {name: Path(marker) for name, _, marker in pairs}


_MARKERS = _marker_of_place(_CrashSettings().crash_at)


def crash_point(name: str) -> None:
    """Die here, once, when this is a place that the process was told to die at."""
    marker = _MARKERS.get(name)
    if marker is None:
        return
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
