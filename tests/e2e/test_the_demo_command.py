"""`maestro demo`, run as people run it, on a stack that was fresh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from samples.hello_tenant import offline
from tests.support.whole_stack import WholeStack

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One run of the command: how it ended, what it said, what it left."""

    status: int
    text: str
    folder: Path

    @property
    def counted(self) -> dict[str, Any]:
        counted: dict[str, Any] = json.loads((self.folder / "load.result.json").read_text())
        return counted

    @property
    def invoice_folders(self) -> list[Path]:
        return sorted((self.folder / "invoices").iterdir())

    @property
    def commands(self) -> list[str]:
        lines = [line.strip() for line in self.text.splitlines()]
        return lines[lines.index("Try next:") + 1 :][:3]


def run_demo(stack: WholeStack, share: str) -> Run:
    environ = {**stack.environ, "PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "libs/sdk_python/src")))}
    before = set((stack.places.home / "demo").glob("*"))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "deploy.local", "demo", "--load", share],
        env={**environ, "COLUMNS": "250"},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = set((stack.places.home / "demo").glob("*")) - before
    return Run(done.returncode, done.stdout, folder)


@pytest.fixture(scope="module")
def run(stack: WholeStack) -> Run:
    stack.wait_until_ready()
    return run_demo(stack, "0.3")


def test_the_demo_ends_by_itself_and_says_that_everything_held(run: Run) -> None:
    assert run.status == 0
    assert "everything held" in run.text
    assert "the ledger balances to the unit in 9 rows" in run.text


def test_the_refusal_is_the_problem_document_with_the_fields_that_say_when_to_come_back(run: Run) -> None:
    refusal = run.counted["refusals"][0]
    assert refusal["status"] == 429
    assert refusal["headers"]["content-type"].startswith("application/problem+json")
    assert {"retry-after", "ratelimit", "ratelimit-policy"} <= refusal["headers"].keys()
    assert refusal["body"]["error"] == "quota_exceeded"
    assert refusal["headers"]["retry-after"] == str(refusal["body"]["retryAfter"])


def test_the_refused_tenant_is_served_again_when_it_comes_back_as_told(run: Run) -> None:
    for refusal in run.counted["refusals"]:
        assert refusal["waited_s"] >= refusal["body"]["retryAfter"]
        assert refusal["status_after"] in {200, 202}


def test_every_call_was_admitted_or_denied(run: Run) -> None:
    assert run.counted["failed"] == 0, run.counted["failures"]


def test_each_tenant_has_the_four_files_of_its_invoice(run: Run) -> None:
    names = [sorted(path.name for path in folder.iterdir()) for folder in run.invoice_folders]
    assert names == [["invoice.csv", "invoice.json", "manifest.json", "manifest.json.sigstore.json"]] * 3


def test_no_key_can_be_read_by_others(run: Run) -> None:
    keys = list((run.folder / "keys").iterdir())
    assert len(keys) == 4
    assert {path.stat().st_mode & 0o077 for path in keys} == {0}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_command_that_it_ends_with_works(run: Run, stack: WholeStack, number: int) -> None:
    command = run.commands[number]
    shell = ["/bin/sh", "-c", command]
    done = subprocess.run(
        shell, env=stack.environ, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, command + done.stdout + done.stderr
    assert done.stdout


def test_a_second_run_is_safe_and_leaves_the_first_ones_invoices_alone(run: Run, stack: WholeStack) -> None:
    second = run_demo(stack, "0.05")
    assert second.folder != run.folder
    verdict = offline.verify(run.invoice_folders[0], stack.addresses.trusted_key, offline.Isolation((), ""))
    assert verdict.is_verified, verdict.text
