"""People see what is awaited, what failed with its last words, and what to try."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.places import Places, lay_places
from deploy.local.processes import Identity, identity_of
from deploy.local.screens import Progress, show_failure, show_table, uptime
from deploy.local.status import PartStatus, Phase, StackStatus

SUPERVISOR = Identity(1, 1)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return lay_places(tmp_path / "s", None)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def _shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _status(*parts: PartStatus) -> StackStatus:
    return StackStatus(SUPERVISOR, parts)


def test_a_failure_names_the_part_its_last_ten_lines_and_one_command(console: Console, places: Places) -> None:
    places.log_of("metering").write_text("".join(f"line {number:02}\n" for number in range(20)))
    failed = PartStatus("metering", Phase.FAILED, "exited with code 1", fix="maestro logs metering")

    show_failure(console, failed, places)

    lines = _shown(console).splitlines()
    assert lines[0] == "metering failed: exited with code 1"
    assert lines[2:12] == [f"  | line {number}" for number in range(10, 20)]
    assert lines[12:] == ["try: maestro logs metering"]


def test_a_log_line_that_looks_like_markup_is_shown_as_it_is(console: Console, places: Places) -> None:
    places.log_of("part").write_text("[red]no colour[/]\n")

    show_failure(console, PartStatus("part", Phase.FAILED), places)

    assert "[red]no colour[/]" in _shown(console)


def test_every_wait_has_a_line_that_says_what_it_waits_for(console: Console) -> None:
    progress = Progress(console)

    progress(_status(PartStatus("kafka", Phase.STARTING, "waits for the broker's metadata")))
    progress(_status(PartStatus("kafka", Phase.READY, address="127.0.0.1:9092")))

    said = [line.split("kafka")[1].strip() for line in _shown(console).splitlines()]
    assert said == ["waits for the broker's metadata", "ready at 127.0.0.1:9092"]


def test_what_did_not_change_is_not_said_again(console: Console) -> None:
    progress = Progress(console)

    progress(_status(PartStatus("kafka", Phase.STARTING, "waits", answer="it does not listen yet")))
    progress(_status(PartStatus("kafka", Phase.STARTING, "waits", answer="the group coordinator is loading")))

    assert len(_shown(console).splitlines()) == 1


def test_the_table_shows_where_else_a_part_listens(console: Console) -> None:
    also = "OTLP/gRPC 127.0.0.1:14317"

    show_table(console, _status(PartStatus("metering", Phase.READY, address="http://here", also_at=also)))

    assert f"http://here, {also}" in _shown(console)


def test_the_table_shows_state_process_restarts_and_address(console: Console) -> None:
    me = identity_of(os.getpid())

    show_table(console, _status(PartStatus("quota", Phase.READY, process=me, restarts=3, address="http://here")))

    row = _shown(console).splitlines()[1].split()
    assert row[:3] == ["quota", "ready", str(os.getpid())]
    assert row[-2:] == ["3", "http://here"]


def test_a_part_without_a_process_has_no_uptime() -> None:
    assert uptime(PartStatus("part", process=None)) == "-"


def test_a_process_that_is_gone_has_no_uptime() -> None:
    assert uptime(PartStatus("part", process=Identity(os.getpid(), 1))) == "-"
