"""What people see: progress while something is awaited, the table of parts, and a failure with what to do next."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from deploy.local.logs import short_tail
from deploy.local.observed import Observed
from deploy.local.places import Places
from deploy.local.status import PartStatus, Phase, StackStatus
from libs.runtime.printable import printable

COLOURS = {Phase.READY: "green", Phase.FAILED: "red", Phase.SILENT: "red", Phase.RESTARTING: "yellow"}
NAME_WIDTH = 10
PIPE_WIDTH = 160
REMIND_S = 10.0  # without a terminal that shows a spinner, a wait is named again this often
LAG_ALARM_S, WATERMARK_ALARM_S, OUTBOX_ALARM_S = 120.0, 300.0, 60.0  # as in deploy/prometheus/rules.yaml
SECONDS_A_MINUTE, SECONDS_AN_HOUR, SECONDS_A_DAY = 60, 3600, 86400


def open_console() -> Console:
    """The terminal; wide where the output goes to a file or a pipe, so that no address is broken over lines."""
    console = Console(emoji=False)
    return console if console.is_terminal else Console(width=PIPE_WIDTH, emoji=False)


def shown(text: str) -> str:
    """Return foreign text as markup that prints it: no tag of it is one, no character of it moves the cursor."""
    return escape(printable(text))


class Progress:
    """Prints a line for every change of a part, and shows what is awaited meanwhile.

    Use as a context manager, and call it with each new record.

    Args:
        console: where it is shown.
        only: the phases that are worth a line; all by default.
    """

    def __init__(self, console: Console, only: Collection[Phase] = tuple(Phase)) -> None:
        self._console = console
        self._only = only
        self._first = time.monotonic()
        self._said: dict[str, tuple[Phase, str]] = {}
        self._reminded = self._first
        self._spinner: Status | None = console.status("") if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._spinner:
            self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spinner:
            self._spinner.stop()

    def __call__(self, status: StackStatus) -> None:
        """Show what changed since the last record."""
        for part in status.parts:
            self._show(part)
        self._show_waits(status)

    def elapsed_s(self) -> float:
        """Seconds since the progress began."""
        return time.monotonic() - self._first

    def _show(self, part: PartStatus) -> None:
        now = (part.phase, part.detail)
        if self._said.get(part.name) == now or part.phase not in self._only or part.phase is Phase.PLANNED:
            return
        self._said[part.name] = now
        self._reminded = time.monotonic()
        ready = f"ready at {part.address}" if part.phase is Phase.READY else ""
        text = ready or part.detail or part.phase.value
        self._line(part.name, text, COLOURS.get(part.phase, ""))

    def _line(self, name: str, text: str, colour: str) -> None:
        line = f"[{colour}]{shown(text)}[/]" if colour else shown(text)
        self._console.print(
            f"{self.elapsed_s():6.1f} s  {shown(name):{NAME_WIDTH}} {line}", highlight=False, soft_wrap=True
        )

    def _show_waits(self, status: StackStatus) -> None:
        waits = [part for part in status.parts if part.phase in (Phase.PREPARING, Phase.STARTING, Phase.RESTARTING)]
        if self._spinner:
            self._spinner.update(shown(", ".join(f"{part.name} ({part.answer or part.detail})" for part in waits)))
        elif waits and time.monotonic() - self._reminded > REMIND_S:
            self._remind(waits)

    def _remind(self, waits: Sequence[PartStatus]) -> None:
        self._reminded = time.monotonic()
        for part in waits:
            self._line(part.name, f"still: {part.detail} ({part.answer or 'no answer yet'})", "")


def show_table(console: Console, status: StackStatus) -> None:
    """The parts in one table: phase, process, uptime, restarts, address."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in (("part", "left"), ("state", "left"), ("pid", "right"), ("up", "right")):
        table.add_column(title, justify="right" if justify == "right" else "left")
    table.add_column("restarts", justify="right")
    table.add_column("address", overflow="fold")
    for part in status.parts:
        colour = COLOURS.get(part.phase, "")
        phase = f"[{colour}]{part.phase}[/]" if colour else part.phase.value
        pid = str(part.process.pid) if part.process else "-"
        table.add_row(part.name, phase, pid, uptime(part), str(part.restarts), shown(_places_of(part)))
    console.print(table)


def show_observed(console: Console, services: Sequence[Observed]) -> None:
    """How the services fare, in one table: what is alarming is red, and a service that is not known says why."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("service")
    for title in ("lag", "oldest", "watermark", "outbox", "oldest", "dead letters"):
        table.add_column(title, justify="right")
    table.add_column("denied requests")
    for one in services:
        cells = [
            _count(one.lag),
            _age(one.lag_age_s, alarm_s=LAG_ALARM_S),
            _age(one.watermark_age_s, alarm_s=WATERMARK_ALARM_S),
            _count(one.outbox_rows),
            _age(one.outbox_age_s, alarm_s=OUTBOX_ALARM_S),
            f"[red]{one.dead_letters}[/]" if one.dead_letters else _count(one.dead_letters),
        ]
        denied = ", ".join(f"{count} {code}" for code, count in sorted((one.denied or {}).items()))
        last = f"[red]{shown(one.problem)}[/]" if one.problem else shown(denied) or "0"
        table.add_row(one.service, *cells, last)
    console.print(table)


def _count(number: int | None) -> str:
    return "?" if number is None else str(number)


def _age(age_s: float | None, *, alarm_s: float) -> str:
    if age_s is None:
        return "?"
    return f"[red]{span_of(int(age_s))}[/]" if age_s > alarm_s else span_of(int(age_s))


def _places_of(part: PartStatus) -> str:
    return f"{part.address}, {part.also_at}" if part.also_at else part.address


def uptime(part: PartStatus) -> str:
    """How long the part's process runs, in its largest two units; `-` without a process."""
    if part.process is None or not part.process.is_alive():
        return "-"
    return span_of(int(part.process.uptime_s()))


def span_of(seconds: int) -> str:
    """A span of time in its largest two units."""
    if seconds < SECONDS_A_MINUTE:
        return f"{seconds}s"
    if seconds < SECONDS_AN_HOUR:
        return f"{seconds // SECONDS_A_MINUTE}m {seconds % SECONDS_A_MINUTE}s"
    if seconds < SECONDS_A_DAY:
        return f"{seconds // SECONDS_AN_HOUR}h {seconds % SECONDS_AN_HOUR // SECONDS_A_MINUTE}m"
    return f"{seconds // SECONDS_A_DAY}d {seconds % SECONDS_A_DAY // SECONDS_AN_HOUR}h"


def show_failure(console: Console, part: PartStatus, places: Places) -> None:
    """Name the part, show its last ten log lines and one command to try."""
    console.print(f"[bold red]{shown(part.name)} failed:[/] {shown(part.detail)}", highlight=False, soft_wrap=True)
    log = places.log_of(part.name)
    lines = short_tail(log)
    if lines:
        console.print(f"the last lines of {shown(str(log))}:", highlight=False, soft_wrap=True)
    for line in lines:
        console.print(f"  [dim]|[/] {shown(line)}", highlight=False, soft_wrap=True)
    console.print(f"try: [bold]{shown(part.fix)}[/]", highlight=False, soft_wrap=True)
