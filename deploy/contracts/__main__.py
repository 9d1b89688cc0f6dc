"""`python -m deploy.contracts write | check | release [REASON]`, behind `make contracts` and `make contracts-release`.

write: the generated files, from the code. check: what breaks the last release. release: today's promises become the
baseline; where they break the last one's, only with a reason, which stays on record.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from deploy.contracts.baseline import BreaksPromises, release, standing_breaks
from deploy.contracts.documents import write
from libs.runtime.clock import SystemClock

USAGE: Final = 64  # EX_USAGE of sysexits.h


def main(arguments: list[str]) -> int:
    """Do what the arguments say, and return the exit status."""
    today = SystemClock().now().date()
    match arguments:
        case ["write"]:
            return _show(write(), status=0)
        case ["check"]:
            found = standing_breaks(today)
            return _show(found, status=1 if found else 0)
        case ["release", *words]:
            try:
                return _show(release(today, reason=" ".join(words).strip()), status=0)
            except BreaksPromises as error:
                return _show(error.detail.split("; "), status=1)
        case _:
            return _show([__doc__], status=USAGE)


def _show(lines: Iterable[object], *, status: int) -> int:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
