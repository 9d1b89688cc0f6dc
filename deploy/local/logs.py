"""Log files of the parts: one each, bounded, and their last lines."""

from __future__ import annotations

import shutil
from collections import deque
from pathlib import Path
from typing import IO

LOG_BYTES_MAX = 10 * 1024 * 1024  # with the one kept before it at most 20 MB a part, days of an idle stack
TAIL_LINES = 10
LINE_CHARACTERS_MAX = 400  # a JSON line with a traceback is cut in a summary; the file has it whole


def open_log(path: Path) -> IO[bytes]:
    """The log file, opened to append, so that it can be cut short under the process that writes to it."""
    return path.open("ab")


def rotate(path: Path) -> bool:
    """Keep the log bounded: past the limit its content moves to `<name>.1` and the file starts again.

    The file itself stays, because its process holds it open; lines written between the copy and the cut are lost, which
    is the price for processes that log to a plain file and outlive the supervisor.
    """
    if not path.exists() or path.stat().st_size <= LOG_BYTES_MAX:
        return False
    shutil.copyfile(path, path.with_suffix(".log.1"))
    with path.open("r+b") as file:
        file.truncate(0)
    return True


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log, without line ends; empty if there is no log."""
    if not path.exists():
        return []
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=lines)]


def short_tail(path: Path) -> tuple[str, ...]:
    """The last ten lines, each cut to a length that fits a terminal, without what could move its cursor."""
    return tuple(_plain(line[:LINE_CHARACTERS_MAX]) for line in tail(path))


def _plain(line: str) -> str:
    return "".join(character if character.isprintable() else " " for character in line)
