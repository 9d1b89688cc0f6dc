"""No secret of the running stack is on a command line, in an environment or in a log."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.status import live_status
from tests.support.whole_stack import WholeStack

SHORTEST = 16  # characters: what is shorter is no secret of ours but a word, such as PEM's own
NO_SECRETS = ("-----", "{")  # the frame of a PEM, and JSON: of operator keys it holds the digest


def files_of(stack: WholeStack) -> list[Path]:
    """Every file of the folder of secrets, at any depth."""
    return sorted(file for file in stack.places.secrets.rglob("*") if file.is_file())


def secrets_of(stack: WholeStack) -> dict[str, str]:
    """Every line of every file of the folder of secrets, by `file:line`."""
    return {
        f"{file.name}:{number}": line
        for file in files_of(stack)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) >= SHORTEST and not line.startswith(NO_SECRETS)
    }


def processes_of(stack: WholeStack) -> dict[str, int]:
    """The process ids of the supervisor and of every part, with all that these started."""
    status = live_status(stack.places)
    assert status is not None
    heads = {part.name: part.process.pid for part in status.parts if part.process} | {
        "supervisor": status.supervisor.pid
    }
    children = {f"child of {name}, {child}": child for name, pid in heads.items() for child in descendants(pid)}
    return heads | children


def descendants(pid: int) -> Iterator[int]:
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text(encoding="ascii").split()):
            yield child
            yield from descendants(child)


def told_to(pid: int, place: str) -> bytes:
    """What a process was started with; nothing where it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/{place}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def shown(text: bytes, secrets: dict[str, str]) -> list[str]:
    return [name for name, secret in secrets.items() if secret.encode() in text]


def test_there_is_a_secret_for_every_login(stack: WholeStack) -> None:
    names = {file.name for file in files_of(stack)}

    logins = [f"{service}_{role}" for service in ("identity", "quota") for role in ("owner", "api", "worker")]
    assert {f"{login}.postgres.password" for login in logins} <= names
    assert {"quota.valkey.password", "supervisor.valkey.password", "postgres.password", "operator.key"} <= names
    assert len(secrets_of(stack)) >= len(names) - 1  # all but the digest of the operator's key


def test_every_secret_lies_in_a_file_that_only_its_owner_reads(stack: WholeStack) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files_of(stack)}
    folders = [stack.places.secrets, *(one for one in stack.places.secrets.rglob("*") if one.is_dir())]

    assert {name: mode for name, mode in modes.items() if mode != 0o600} == {}
    own = ("secrets", "identity", "metering", "quota", "invoicing", "evidence")
    assert {folder.name: stat.S_IMODE(folder.stat().st_mode) for folder in folders} == dict.fromkeys(own, 0o700)


def test_the_sockets_lie_in_folders_that_only_their_owner_enters(stack: WholeStack) -> None:
    folders = [stack.places.postgres / "run", stack.places.valkey]

    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]


@pytest.mark.parametrize("place", ["cmdline", "environ"])
def test_no_process_shows_a_secret(stack: WholeStack, place: str) -> None:
    secrets, running = secrets_of(stack), processes_of(stack)

    told = {name: told_to(pid, place) for name, pid in running.items()}
    found = {name: shown(text, secrets) for name, text in told.items()}

    assert {"supervisor", "postgres", "kafka", "quota"} <= {name for name, text in told.items() if text}
    assert {name: leaks for name, leaks in found.items() if leaks} == {}


def test_no_log_shows_a_secret(stack: WholeStack) -> None:
    secrets = secrets_of(stack)

    found = {file.name: shown(file.read_bytes(), secrets) for file in stack.places.logs.iterdir()}

    assert {"postgres.log", "kafka.log", "quota.log"} <= found.keys()
    assert {name: leaks for name, leaks in found.items() if leaks} == {}


def test_a_secret_that_is_shown_would_be_found(stack: WholeStack) -> None:
    name, secret = next(iter(secrets_of(stack).items()))

    assert shown(f"--password={secret} --verbose".encode(), secrets_of(stack)) == [name]
