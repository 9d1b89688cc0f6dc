"""From typing `make demo` to the first accepted event: on a fresh clone with nothing cached, and again when warm.

    python tests/bench/measure_first_event.py [--cold N] [--warm N]

Each cold round is a clone of HEAD in a new folder with a new HOME: no virtual environment, no pip cache, no jars. Warm
rounds follow in the last clone, each after `make down`. Writes tests/bench/results/first-event.json: commit, machine,
versions, and every round as it was. Bars: cold 180 s, warm 20 s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "tests" / "bench" / "results" / "first-event.json"
FIRST_EVENT = re.compile(r"first event accepted ([0-9.]+) s after")
LOAD = "0.1"  # the bar ends with the first event; the rest of the load only has to balance


def round_of(clone: Path, env: Mapping[str, str]) -> dict[str, float]:
    """Run the demo once in `clone` and return its figures in seconds; raise where it does not end with exit 0."""
    load_before, begun = os.getloadavg()[0], time.monotonic()
    run = subprocess.run(
        ["make", "demo", f"LOAD={LOAD}"], cwd=clone, env=env, capture_output=True, text=True, check=False
    )
    whole_s = round(time.monotonic() - begun, 1)
    found = FIRST_EVENT.search(run.stdout)
    if run.returncode != 0 or found is None:
        sys.exit(f"make demo ended with {run.returncode}\n{run.stdout[-4000:]}\n{run.stderr[-4000:]}")
    return {"first_event_s": float(found.group(1)), "whole_demo_s": whole_s, "load_average_before": load_before}


def measure(cold: int, warm: int) -> dict[str, list[dict[str, float]]]:
    """Return all rounds. The clones and their homes are removed, and their stacks stopped, whatever happens."""
    rounds: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for number in range(cold):
        home = Path(tempfile.mkdtemp(prefix="maestro-cold-", dir="/var/tmp"))
        clone = home / "maestro"
        env = {"HOME": str(home), "PIP_NO_CACHE_DIR": "1", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        env |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        try:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
            rounds["cold"].append(round_of(clone, env))
            for _ in range(warm if number == cold - 1 else 0):
                subprocess.run(["make", "down"], cwd=clone, env=env, check=True, capture_output=True)
                rounds["warm"].append(round_of(clone, env))
        finally:
            subprocess.run(["make", "down"], cwd=clone, env=env, check=False, capture_output=True)
            shutil.rmtree(home, ignore_errors=True)
    return rounds


def machine() -> dict[str, object]:
    """Return what the figures were taken on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    return {
        "cpus": os.cpu_count(),
        "cpu_model": model.group(1) if model else platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def summary(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return minimum, median and maximum of the time to the first event."""
    values = [one["first_event_s"] for one in rounds]
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    """Measure, print and write the result."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cold", type=int, default=2, help="rounds with nothing cached, at least 1")
    arguments.add_argument("--warm", type=int, default=3, help="rounds on what the last cold one left, at least 1")
    given = arguments.parse_args()
    rounds = measure(max(1, given.cold), max(1, given.warm))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    result = {
        "what": "seconds from typing `make demo` to the first accepted event",
        "bars_s": {"cold": 180, "warm": 20},
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.strip(),
        "machine": machine(),
        "load_share": LOAD,
        "summary_s": {name: summary(all_of_it) for name, all_of_it in rounds.items()},
        "rounds": rounds,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result["summary_s"], indent=2) + f"\nwritten to {RESULT.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
