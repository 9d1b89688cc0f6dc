"""Whatever a part, a file or a person called something, the verbs of `maestro` print it and obey none of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local import command
from deploy.local.errors import Missing
from deploy.local.looking import logs
from deploy.local.places import lay_places
from deploy.local.processes import Identity
from deploy.local.screens import Progress, show_failure, show_table, shown
from deploy.local.status import PartStatus, Phase, StackStatus
from samples.hello_tenant.screen import Screen

HOSTILE = "[bold]x[/bold] [link=file:///etc]y[/link] :bomb: \x1b[2J\x1b]0;t\x07 \u202egnp.exe \u2066 \r\nforged \x9b31m"
WRITTEN_OUT = (
    r"[bold]x[/bold] [link=file:///etc]y[/link] :bomb: \x1b[2J\x1b]0;t\x07 \u202egnp.exe \u2066 \r\nforged \x9b31m"
)


@pytest.fixture
def console() -> Console:
    """A terminal with colours, as wide as a line can be."""
    return Console(file=io.StringIO(), width=2_000, force_terminal=True, emoji=False, highlight=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_foreign_text_is_printed_as_it_is_or_written_out(console: Console) -> None:
    console.print(shown(HOSTILE))

    assert printed(console) == WRITTEN_OUT + "\n"


def test_a_part_that_fails_with_foreign_words_and_logs_them_is_shown_with_them(
    console: Console, tmp_path: Path
) -> None:
    places = lay_places(tmp_path / "s", None)
    places.log_of("x").write_text("\x1b[2J[bold]log\u202e[/bold]\n")
    show_failure(console, PartStatus("x", Phase.FAILED, detail=HOSTILE, fix=HOSTILE), places)

    assert printed(console).count(WRITTEN_OUT) == 2
    assert r"\x1b[2J[bold]log\u202e[/bold]" in printed(console)


def test_a_table_shows_a_foreign_address_as_text(console: Console) -> None:
    part = PartStatus("x", Phase.READY, address=HOSTILE)
    show_table(console, StackStatus(Identity(1, 1), (part,)))

    assert WRITTEN_OUT in printed(console)


def test_progress_shows_foreign_details_as_text() -> None:
    console = Console(file=io.StringIO(), width=2_000, emoji=False)
    with Progress(console) as progress:
        progress(StackStatus(Identity(1, 1), (PartStatus("x", Phase.STARTING, detail=HOSTILE),)))

    assert WRITTEN_OUT in printed(console)


def test_maestro_logs_prints_a_line_of_a_log_as_one_line_of_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = lay_places(tmp_path / "s", None)
    places.log_of("kafka").write_text("\tat x.Y\x1b[2J\u202e[bold]\n")
    monkeypatch.setenv("MAESTRO_STATE_DIR", str(tmp_path / "s"))

    logs("kafka", 5, follow=False)

    assert capsys.readouterr().out == "        at x.Y\\x1b[2J\\u202e[bold]\n"


def test_a_problem_is_told_line_by_line_without_what_moves_a_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_: object) -> None:
        raise Missing("first\nsecond \x1b[2J", fix="ls \u202e")

    monkeypatch.setattr(command, "app", fails)
    with pytest.raises(SystemExit):
        command.main([])

    assert capsys.readouterr().err == "first\nsecond \\x1b[2J\ntry: ls \\u202e\n"


def test_the_demo_prints_names_and_answers_as_text(console: Console) -> None:
    screen = Screen(console)
    screen.line(HOSTILE)
    screen.check(True, HOSTILE)
    screen.headline(HOSTILE)
    screen.panel(HOSTILE, "content")
    screen.table("", ("tenant",), [(HOSTILE,)])
    with screen.wait(HOSTILE) as wait:
        wait.say(HOSTILE)

    assert printed(console).count(WRITTEN_OUT) >= 6
    assert "\u202e" not in printed(console)
    assert "\x1b[2J" not in printed(console)
