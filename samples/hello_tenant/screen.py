"""What the demo says while it runs: a line for every wait, tables at the end.

On a terminal a wait is a spinner with the seconds that it has taken; elsewhere it is one line when it begins and one
when it is over, so that a log shows where time went.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from libs.runtime.printable import printable

LOG_WIDTH = 120  # of a log file, where rich would otherwise assume 80 and break ids


class Wait:
    """A wait that is going on."""

    def __init__(self, bar: Progress, text: str) -> None:
        self._bar = bar
        self._task = bar.add_task(printable(text), total=None)
        self.text = text

    def say(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Show what is waited for now, and how much of it is done."""
        self.text = text
        self._bar.update(self._task, description=printable(text), completed=done, total=total)


class Screen:
    """The console of the demo."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, LOG_WIDTH)

    def headline(self, text: str) -> None:
        """Begin a step."""
        self.console.print()
        self.console.print(Text(printable(text), style="bold"))

    def line(self, text: str, style: str = "") -> None:
        """Say one thing."""
        self.console.print(Text(f"  {printable(text)}", style=style), soft_wrap=True)

    def check(self, is_true: bool, text: str) -> None:
        """Say that something holds, or that it does not."""
        mark, style = ("✓", "green") if is_true else ("✗", "bold red")
        self.console.print(Text.assemble(f"  {mark} ", printable(text), style=style), soft_wrap=True)

    @contextmanager
    def wait(self, text: str) -> Iterator[Wait]:
        """Show that the block is waited for, and afterwards how long it took."""
        started = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(24), MofNCompleteColumn())
        if not self.console.is_terminal:
            self.line(f"… {text}")
        with Progress(
            *columns, TimeElapsedColumn(), console=self.console, transient=True, disable=not self.console.is_terminal
        ) as bar:
            current = Wait(bar, text)
            yield current
        self.line(f"✓ {current.text} ({time.monotonic() - started:.1f} s)", style="green")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; columns whose name starts with `>` hold numbers. No text in it is markup."""
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
        for column in columns:
            table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(str(cell))) for cell in row))
        self.console.print()
        self.console.print(table)

    def panel(self, title: str, content: RenderableType) -> None:
        """Print something in a frame."""
        self.console.print(Panel(content, title=Text(printable(title)), title_align="left"))
