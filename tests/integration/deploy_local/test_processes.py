"""A process is told from another one that has its id, and starts only when it is let go."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.local import processes
from deploy.local.parts import Launch
from deploy.local.processes import Identity

WITHIN_S = 10.0


def _start(folder: Path, *program: str) -> processes.Child:
    launch = Launch(argv=program, env={"PATH": "/usr/bin:/bin"}, cwd=folder)
    with (folder / "log").open("ab") as log:
        return processes.start(launch, log, die_with_parent=True)


def test_a_process_is_itself() -> None:
    me = processes.identity_of(os.getpid())

    assert me is not None
    assert me.is_alive()


def test_another_start_time_is_another_process() -> None:
    me = processes.identity_of(os.getpid())
    assert me is not None

    assert not Identity(me.pid, me.started_ticks + 1).is_alive()


def test_an_ended_process_that_nobody_collected_counts_as_gone(tmp_path: Path) -> None:
    child = _start(tmp_path, "/bin/true")

    child.let_go()

    assert processes.wait_gone(child.identity, WITHIN_S)
    child.popen.wait()


def test_a_process_does_nothing_before_it_is_let_go(tmp_path: Path) -> None:
    child = _start(tmp_path, sys.executable, "-c", "open('done', 'w')")
    gate = child.popen.stdin
    assert gate is not None

    gate.close()  # whoever started it is gone
    child.popen.wait(WITHIN_S)

    assert not (tmp_path / "done").exists()


def test_a_process_keeps_its_identity_when_it_is_let_go(tmp_path: Path) -> None:
    child = _start(tmp_path, sys.executable, "-c", "import os; open('pid', 'w').write(str(os.getpid()))")

    child.let_go()
    child.popen.wait(WITHIN_S)

    assert (tmp_path / "pid").read_text() == str(child.identity.pid)


def test_an_ending_is_told_in_words(tmp_path: Path) -> None:
    child = _start(tmp_path, sys.executable, "-c", "raise SystemExit(3)")

    child.let_go()
    child.popen.wait(WITHIN_S)

    assert child.ending() == "exited with code 3"


def test_a_killed_process_tells_the_signal(tmp_path: Path) -> None:
    child = _start(tmp_path, "/bin/sleep", "100")
    child.let_go()

    child.popen.kill()
    child.popen.wait(WITHIN_S)

    assert child.ending() == "was ended by SIGKILL"
