"""What goes wrong at a start, as a person sees it: each message names what is wrong and what to do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from deploy.local.accounts import unprivileged_account
from deploy.local.control import bring_up, cut_off, start_supervisor, take_down
from deploy.local.places import CHECKOUT, Places, find_places, lay_places
from deploy.local.status import live_status
from tests.support.namespaces import offline, read_only, run
from tests.support.small_stack import PROGRAM

MAESTRO = (sys.executable, "-m", "deploy.local")
QUOTA_PORT = 7103
WITHIN_S = 60.0
LOOK_S = 0.005  # formatting Kafka's storage takes a second, initdb one

# Python as `make` asks for it, but of another version.
OLD_PYTHON = """\
#!/bin/sh
exec {python} -c 'import sys; sys.version_info = (3, 9, 2); sys.version = "3.9.2 (main)"; exec(sys.argv[1])' "$2"
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's account can pass; what runs in it ends with the module."""
    made = Path(tempfile.mkdtemp(prefix="maestro-fault-", dir="/tmp"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        take_down(find_places(made / "s"), lambda _: None)
        shutil.rmtree(made)


@pytest.fixture(scope="module")
def first_up(folder: Path) -> CompletedProcess[str]:
    """`maestro up` for the first time, without a network, with quota's port taken and metering's meters unreadable."""
    (folder / "meters.yaml").write_text("meters: [")
    return _up(folder)


@pytest.fixture(scope="module")
def second_up(folder: Path, first_up: CompletedProcess[str]) -> CompletedProcess[str]:
    """`maestro up` again, with the meters that ship."""
    assert first_up.returncode != 0
    shutil.copy(CHECKOUT / "services/metering/meters.yaml", folder / "meters.yaml")
    return _up(folder)


def _up(folder: Path) -> CompletedProcess[str]:
    environ = {"MAESTRO_STATE_DIR": str(folder / "s"), "MAESTRO_METERS_FILE": str(folder / "meters.yaml")}
    return run(offline([*MAESTRO, "up"], taken_port=QUOTA_PORT), **environ)


def test_a_service_that_dies_at_its_start_is_named_with_its_last_lines_and_a_command(
    first_up: CompletedProcess[str],
) -> None:
    lines = first_up.stdout.splitlines()
    failure = next(line for line in lines if line.startswith("metering failed:"))

    assert first_up.returncode == 1
    assert failure.startswith("metering failed: exited with code 3, 3 times within")
    assert "BadMeter: the meter file is wrong: while parsing a flow node" in lines[-3]
    assert lines[-1] == "try: maestro logs metering"


def test_the_next_up_tries_again_what_was_given_up(second_up: CompletedProcess[str]) -> None:
    assert second_up.returncode == 0, second_up.stdout
    assert "the stack is up after" in second_up.stdout


def test_with_a_warm_cache_no_network_is_needed(second_up: CompletedProcess[str]) -> None:
    assert second_up.stdout.count("ready") >= 8  # three servers, five services


def test_a_service_whose_port_was_taken_says_where_it_is_instead(
    second_up: CompletedProcess[str], folder: Path
) -> None:
    status = live_status(find_places(folder / "s"))
    quota = status.part("quota") if status else None

    assert quota is not None
    assert f"quota is at {quota.address}: port {QUOTA_PORT} was taken" in second_up.stdout


def test_a_state_folder_on_a_read_only_file_system_is_refused_with_the_setting_that_helps(tmp_path: Path) -> None:
    shown = run(read_only(tmp_path, [*MAESTRO, "up"]), MAESTRO_STATE_DIR=str(tmp_path / "s"))

    assert shown.returncode == 1
    assert shown.stderr == (
        f"state folder: {tmp_path} lies on a file system that is read-only\n"
        "try: set MAESTRO_STATE_DIR to a folder of yours\n"
    )


def test_a_python_that_is_too_old_is_refused_with_the_command_that_names_another(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    old = tmp_path / "python3.9"
    old.write_text(OLD_PYTHON.format(python=sys.executable))
    old.chmod(0o755)

    shown = subprocess.run(
        ["make", "setup", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert shown.returncode != 0
    assert "Maestro needs Python 3.11 or newer; this is 3.9.2. Set PYTHON=python3.11 and try again." in shown.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_first_run_that_was_cut_off_half_way_is_finished_by_the_next(folder: Path) -> None:
    places = lay_places(folder / "cut", unprivileged_account(os.environ))
    try:
        for part, doing in (("postgres", "makes a new cluster"), ("kafka", "formats its storage")):
            _cut_off(places, part, doing)

        said = cut_off(places)

        assert said is not None
        assert said.startswith("the last run here was cut off")
        assert bring_up(places, os.environ, lambda _: None, PROGRAM).is_ready()
        assert cut_off(places) is None
    finally:
        take_down(places, lambda _: None)


def _cut_off(places: Places, part: str, doing: str) -> None:
    """Kill a first run's supervisor, with all that it started, while a part is being prepared."""
    supervisor = start_supervisor(places, os.environ, PROGRAM)
    deadline = time.monotonic() + WITHIN_S
    while _doing(places, part) != doing:
        assert time.monotonic() < deadline, f"{part} did not get to where it {doing}"
        time.sleep(LOOK_S)
    os.killpg(supervisor.pid, signal.SIGKILL)  # initdb and the formatter are of its session
    supervisor.wait()


def _doing(places: Places, name: str) -> str:
    status = live_status(places)
    part = status.part(name) if status else None
    return part.detail if part else ""
