"""`make chaos-sabotage`: on each of these broken builds the suite has to fail within so many seeds.

What shows only where an effect is no upsert (compare-and-set removed, a stale owner, sequences unchecked) is tried
on the bus itself, by `tests/chaos/test_sabotage_is_seen.py`: metering's ids hide it.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from tests.chaos.run import main

WITHIN_SEEDS: Final = "12"
PATIENCE_S: Final = "30"
# The fault under which each shows, where it takes a certain one.
FAULT_OF: Final[dict[str, str]] = {
    "dedup-off": "",
    "edge-answers-too-soon": "kill kafka",
    "offset-before-effect": "",
    "relay-marks-before-publishing": "",
    "restored-store-unnoticed": "restore metering's database",
}


def check() -> int:
    """Run all; 0 where each was caught."""
    start = str(int(time.time()) % 1_000_000)
    missed = [name for name, fault in FAULT_OF.items() if not _is_caught(name, fault, start)]
    print(f"sabotaged builds: {len(FAULT_OF)}, caught: {len(FAULT_OF) - len(missed)}, missed: {missed or 'none'}")
    return int(bool(missed))


def _is_caught(name: str, fault: str, start: str) -> bool:
    print(f"\n{name}:", flush=True)
    chosen = ["--fault", fault] if fault else []
    arguments = ["--sabotage", name, "--seeds", WITHIN_SEEDS, "--start", start, "--patience", PATIENCE_S, *chosen]
    return main(arguments) == 0


if __name__ == "__main__":
    sys.exit(check())
