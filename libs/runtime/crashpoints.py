"""Named places where a process can be told to die, so that tests kill it exactly there.

`MAESTRO_CRASH_AT=<name>:<marker file>` kills this process by SIGKILL the first time it passes the place; the marker is
made just before, so that the restarted process goes on. Without the variable a crash point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class _CrashSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MAESTRO_", extra="ignore")

    crash_at: str = ""


_NAME, _, _MARKER = _CrashSettings().crash_at.partition(":")


def crash_point(name: str) -> None:
    """Die here, once, when this is the place that the process was told to die at."""
    if name != _NAME:
        return
    marker = Path(_MARKER)
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
