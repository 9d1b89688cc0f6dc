"""Log files of the parts: one each, bounded, and their last lines."""

from __future__ import annotations

import json
import shutil
from collections import deque
from itertools import dropwhile
from pathlib import Path
from typing import IO

from libs.runtime.printable import printable

LOG_BYTES_MAX = 10 * 1024 * 1024  # with the one kept before it at most 20 MB a part, days of an idle stack
TAIL_LINES = 10
LINE_CHARACTERS_MAX = 400  # cut in a summary; the file has it whole
TIME_OF_DAY = slice(11, 19)  # of an ISO time, to the second


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
    """The last ten lines, each cut to a length that fits a terminal, what could move its cursor written out.

    Of a service's JSON line: when, how grave, what; of a traceback the line that names the error.
    """
    return tuple(printable(_in_words(line)[:LINE_CHARACTERS_MAX]) for line in tail(path))


def _in_words(line: str) -> str:
    try:
        entry = json.loads(line)
        words = (entry["time"][TIME_OF_DAY], entry["level"], entry["message"], entry.get("exception", ""))
    except (ValueError, KeyError, TypeError):
        return line  # a server's own format
    return " ".join(_error_of(str(word)) for word in words if word)


def _error_of(text: str) -> str:
    """The text in one line; of a traceback what follows its last frame."""
    lines = text.strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    after = lines[frames[-1] + 1 :] if frames else lines
    if frames:
        after = list(dropwhile(lambda line: line.startswith(" "), after))  # the frame's source
    return " ".join(line.strip() for line in after)
