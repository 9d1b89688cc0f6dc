"""`make chaos`: seeded faults on a whole stack, and an account that must balance to the unit after each.

    python -m tests.chaos.run [--seeds N] [--start S] [--seed ONE] [--fault NAME] [--sabotage NAME]
                              [--result FILE] [--logs FOLDER]

A seed names its faults, so that a failing one is run again by its number: `make chaos SEED=1234`. How long things take
is the machine's: the same faults come again, not the same interleaving.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos.bound import Bound
from tests.chaos.customer import WITHIN_S
from tests.chaos.faults import FULL_DISK, MAIN
from tests.chaos.hand import Hand
from tests.chaos.program import PROGRAM
from tests.chaos.service import FOLDER_SETTING, SABOTAGE_SETTING
from tests.chaos.trial import Result, plan_of, run_seed
from tests.support.whole_stack import WholeStack, standing

ROOT: Final = Path(__file__).resolve().parents[2]
DISK_MB: Final = 1500  # of PostgreSQL: its write-ahead log may grow to a gigabyte before it is cut


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds; 0 where every one was exact, or with --sabotage where one was not."""
    given = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the stack is taken down on the way out
    seeds = [given.seed] if given.seed is not None else range(given.start, given.start + given.seeds)
    results: list[Result] = []
    with _chaos_stack(given.sabotage) as (stack, chaos, disk):
        bound = Bound(stack, chaos)
        for number, seed in enumerate(seeds, start=1):
            plan = plan_of(seed, [given.fault] if given.fault else mains_on(disk))
            results.append(run_seed(Hand(stack, Random(seed), chaos, disk), plan, given.patience, bound))
            print(f"[{number}/{len(seeds)}] {line_of(results[-1])}", flush=True)
            if given.result:  # after each: a run that is ended keeps what it has
                _write(given.result, results, given.sabotage)
            if given.logs and not results[-1].is_exact:
                shutil.copytree(stack.places.logs, given.logs / f"seed-{seed}", dirs_exist_ok=True)
            if given.sabotage and not results[-1].is_exact:
                break
    print(_table(results))
    was_exact = all(one.is_exact for one in results)
    return int(was_exact) if given.sabotage else int(not was_exact)


def mains_on(disk: Path | None) -> list[str]:
    """Return the main faults there are; only who may mount a file system has a disk that can be filled."""
    return [name for name in MAIN if disk is not None or name != FULL_DISK]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="how many, one after the other")
    parser.add_argument("--start", type=int, default=int(time.time()) % 1_000_000, help="the first; by default any")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--fault", choices=list(MAIN), help="the main fault of every seed; by default each in turn")
    parser.add_argument("--patience", type=float, default=WITHIN_S, help="seconds; what comes later is lost")
    parser.add_argument("--sabotage", default="", help="break the build so: the run must fail within the seeds")
    parser.add_argument("--result", type=Path, help="where to write all results as JSON")
    parser.add_argument("--logs", type=Path, help="a folder that gets the logs of all parts after a seed that failed")
    return parser.parse_args(arguments)


@contextmanager
def _chaos_stack(sabotage: str) -> Iterator[tuple[WholeStack, Path, Path | None]]:
    """A stack whose services run under `tests.chaos.service`, and where PostgreSQL's disk is one that can be filled."""
    with tempfile.TemporaryDirectory(prefix="maestro-chaos-") as folder, ExitStack() as disks:
        chaos = Path(folder)
        told = {FOLDER_SETTING: folder, SABOTAGE_SETTING: sabotage, "PYTHONPATH": str(ROOT)}
        mounted: list[Path] = []

        def mount(home: Path) -> None:
            disk = home / "postgres"
            disk.mkdir(mode=0o700, exist_ok=True)
            if _mounted(disk):
                disks.callback(shutil.rmtree, home.parent, ignore_errors=True)  # what the mount had kept from removal
                disks.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=False)
                mounted.append(disk)

        with standing(PROGRAM, told, mount) as stack:
            yield stack, chaos, mounted[0] if mounted else None


def _mounted(disk: Path) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    return done.returncode == 0


def line_of(result: Result) -> str:
    """Return a seed in one line: what was done, what came of it, how long it took."""
    plan = result.plan
    verdict = "exact" if result.is_exact else f"FAILED lost {result.lost} doubled {result.doubled} {result.trouble}"
    what = "; ".join([plan.main, *plan.beside, "closing: " + ", ".join(plan.closing), *result.said])
    return f"seed {plan.seed}: {verdict}, {result.usages} lots, {result.seconds} s ({what})"


def _table(results: Sequence[Result]) -> str:
    """Return one line per main fault: seeds, failures, lots, seconds."""
    lines = [f"\n{'fault':<34}{'seeds':>6}{'failed':>8}{'lots':>8}{'s/seed':>8}"]
    mains = sorted({one.plan.main for one in results})
    lines += [_row(name, [one for one in results if one.plan.main == name]) for name in mains]
    return "\n".join([*lines, _row("all", results)])


def _row(name: str, results: Sequence[Result]) -> str:
    failed = sum(not one.is_exact for one in results)
    lots, seconds = sum(one.usages for one in results), sum(one.seconds for one in results)
    return f"{name:<34}{len(results):>6}{failed:>8}{lots:>8}{seconds / max(1, len(results)):>8.1f}"


def _write(file: Path, results: Sequence[Result], sabotage: str) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    document: dict[str, Any] = {
        "what": "seeded faults on a whole stack, compared with what the senders know",
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.strip(),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "sabotage": sabotage,
        "seeds": len(results),
        "failed": sum(not one.is_exact for one in results),
        "results": [one.document() for one in results],
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
