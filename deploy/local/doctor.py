"""The verb `doctor`: every check in a table, and the fix of each that is not well."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from deploy.local.checks import Finding, Verdict, check_all
from deploy.local.screens import open_console, shown

OK, FAILED = 0, 1
COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.MISSING: "red"}


def doctor(*, as_json: bool) -> int:
    """Check every prerequisite; the exit status is 1 if one is missing."""
    findings = check_all(os.environ)
    missing = [finding for finding in findings if finding.verdict is Verdict.MISSING]
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=1) + "\n")
    else:
        console = open_console()
        _show_findings(console, findings)
        console.print(f"{len(missing)} missing" if missing else "nothing is missing", highlight=False)
    return FAILED if missing else OK


def _show_findings(console: Console, findings: Sequence[Finding]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("check", "verdict", "found"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        verdict = f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(finding.subject, verdict, shown(finding.found))
    console.print(table)
    for finding in findings:
        if finding.fix:
            console.print(f"[bold]{finding.subject}[/]: {shown(finding.fix)}", highlight=False, soft_wrap=True)
