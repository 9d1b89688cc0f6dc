"""The command answers at once, teaches with examples, and says what to do when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.command import main
from deploy.local.places import CHECKOUT, lay_places

VERBS = ("up", "down", "restart", "status", "logs", "doctor", "demo", "verify", "usage")
SLOW_IMPORTS = ("asyncpg", "aiokafka", "redis", "rich", "httpx", "fastapi", "pydantic", "cryptography")
LOADED = "import sys; from deploy.local.command import app; print(*sys.modules)"


Maestro = Callable[..., tuple[int, str, str]]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv("MAESTRO_STATE_DIR", str(tmp_path / "s"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "s"


@pytest.fixture
def maestro(state: Path, capsys: pytest.CaptureFixture[str]) -> Maestro:
    """Runs the command: its exit status, what it printed, what it complained of."""
    assert not state.exists()

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run


def test_help_loads_nothing_that_is_slow() -> None:
    loaded = subprocess.check_output([sys.executable, "-c", LOADED], cwd=CHECKOUT, text=True).split()

    assert [name for name in SLOW_IMPORTS if name in loaded] == []


def test_the_module_is_the_command() -> None:
    shown = subprocess.check_output([sys.executable, "-m", "deploy.local", "--help"], cwd=CHECKOUT, text=True)

    assert shown.startswith("Usage: maestro ")


def test_help_lists_every_verb_and_shows_examples(maestro: Maestro) -> None:
    _, shown, _ = maestro("--help")

    assert [verb for verb in VERBS if f"\n  {verb} " not in shown] == []
    assert "maestro logs metering --follow" in shown


@pytest.mark.parametrize("verb", ["up", "down", "status", "logs", "doctor", "verify"])
def test_the_help_of_every_verb_shows_an_example(maestro: Maestro, verb: str) -> None:
    code, shown, _ = maestro(verb, "--help")

    assert code == 0
    assert "Example" in shown


def test_status_of_nothing_says_how_to_start(maestro: Maestro) -> None:
    code, shown, _ = maestro("status")

    assert code == 3
    assert "maestro up" in shown


def test_status_of_nothing_is_json_for_a_script(maestro: Maestro) -> None:
    document = json.loads(maestro("status", "--json")[1])

    assert (document["ready"], document["parts"]) == (False, [])


def test_down_of_nothing_is_safe(maestro: Maestro) -> None:
    assert maestro("down") == (0, "nothing was running\n", "")


def test_logs_of_nothing_name_the_command_to_try(maestro: Maestro) -> None:
    assert maestro("logs", "metering") == (1, "", "there is no log of metering\ntry: maestro up\n")


def test_the_last_lines_of_one_log_are_shown(maestro: Maestro, state: Path) -> None:
    lay_places(state, None).log_of("quota").write_text("first\nsecond\nthird\n")

    assert maestro("logs", "quota", "--lines", "2") == (0, "second\nthird\n", "")


def test_lines_of_several_logs_carry_the_name_of_their_part(maestro: Maestro, state: Path) -> None:
    places = lay_places(state, None)
    places.log_of("quota").write_text("one\n")
    places.log_of("metering").write_text("two\n")

    assert maestro("logs")[1] == "metering   two\nquota      one\n"


def test_an_unusable_state_folder_stops_the_start_with_its_fix(maestro: Maestro, state: Path) -> None:
    state.write_text("in the way")

    code, _, complaint = maestro("up")

    assert code == 1
    assert complaint.startswith(f"{state} is not a folder\ntry: remove it")


def test_doctor_gives_a_script_every_finding(maestro: Maestro) -> None:
    code, shown, _ = maestro("doctor", "--json")

    assert code == 0
    assert {"subject", "verdict", "found", "fix"} == set(json.loads(shown)[0])
