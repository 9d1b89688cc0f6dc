"""A stack of real servers and two small services comes up, survives what is done to it, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local import processes
from deploy.local.accounts import unprivileged_account
from deploy.local.control import bring_up, cut_off, take_down
from deploy.local.credentials import write_private
from deploy.local.places import Places, lay_places
from deploy.local.ports import HOST
from deploy.local.processes import Identity
from deploy.local.provision import Tenure, dsn_for, provision
from deploy.local.status import PartStatus, StackStatus, live_status
from libs.bus.kafka import KafkaAccess
from libs.store.roles import Role
from tests.support.kafka import kafka_environment, operator_access
from tests.support.small_stack import PROGRAM
from tests.support.stack import as_role, drop_databases

WITHIN_S = 60.0
LOOK_S = 0.05


def _silent(_status: StackStatus) -> None:
    """Tests show no progress."""


def _up(places: Places, environ: dict[str, str] | None = None) -> StackStatus:
    return bring_up(places, {**os.environ, **(environ or {})}, _silent, PROGRAM)


def _part(status: StackStatus | None, name: str) -> PartStatus:
    part = status.part(name) if status else None
    assert part is not None
    return part


def _process(status: StackStatus | None, name: str) -> Identity:
    process = _part(status, name).process
    assert process is not None
    return process


def _login(status: StackStatus, name: str) -> str:
    """Whom the database of a small service takes it for."""
    return httpx.get(f"{_part(status, name).address}/readyz").text


def _all_processes(status: StackStatus) -> list[Identity]:
    return [status.supervisor, *(part.process for part in status.parts if part.process)]


def _until(places: Places, holds: Callable[[StackStatus], bool]) -> StackStatus:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        status = live_status(places)
        if status is not None and holds(status):
            return status
        time.sleep(LOOK_S)
    raise AssertionError(f"the stack did not get there within {WITHIN_S} s: {live_status(places)}")


def _environment(process: Identity) -> bytes:
    return Path(f"/proc/{process.pid}/environ").read_bytes()


def _left_in(home: Path) -> list[str]:
    """Command lines of running processes that name this state folder."""
    lines = [processes.command_line(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [line for line in lines if str(home) in line]


@contextmanager
def _stack_folder() -> Iterator[Places]:
    """Folders of a stack of its own, in a place that PostgreSQL's account can enter; the stack ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="maestro-stack-", dir="/tmp"))
    folder.chmod(0o711)
    laid = lay_places(folder / "s", unprivileged_account(os.environ))
    try:
        yield laid
    finally:
        take_down(laid, _silent)
        shutil.rmtree(folder)


@pytest.fixture
def own_stack() -> Iterator[Places]:
    """A stack that one test starts and stops."""
    with _stack_folder() as laid:
        yield laid


@pytest.fixture(scope="module")
def standing_stack() -> Iterator[Places]:
    """A stack that is up, for the tests that leave it up."""
    with _stack_folder() as laid:
        _up(laid)
        yield laid


def test_every_part_is_up_and_ready(standing_stack: Places) -> None:
    status = live_status(standing_stack)

    assert status is not None
    assert [part.name for part in status.parts] == ["postgres", "valkey", "kafka", "first", "second"]
    assert status.is_ready()


def test_each_service_is_logged_in_as_itself_in_its_own_database(standing_stack: Places) -> None:
    status = live_status(standing_stack)

    assert status is not None
    assert [_login(status, name) for name in ("first", "second")] == ["first_api@first", "second_api@second"]


def test_a_second_up_changes_nothing(standing_stack: Places) -> None:
    first = live_status(standing_stack)
    assert first is not None

    second = _up(standing_stack)

    assert _all_processes(second) == _all_processes(first)


def test_a_killed_service_comes_back_by_itself(standing_stack: Places) -> None:
    before = _part(live_status(standing_stack), "first")
    assert before.process is not None

    before.process.send(signal.SIGKILL)

    after = _until(standing_stack, lambda now: now.is_ready() and _process(now, "first") != before.process)
    assert _part(after, "first").restarts == before.restarts + 1


def test_killed_servers_come_back_with_what_they_stored(standing_stack: Places) -> None:
    before = live_status(standing_stack)
    victims = {name: _process(before, name) for name in ("postgres", "kafka")}

    for victim in victims.values():
        victim.send(signal.SIGKILL)

    after = _until(
        standing_stack, lambda now: now.is_ready() and all(_process(now, name) != victims[name] for name in victims)
    )
    assert _login(after, "first") == "first_api@first"


def test_down_leaves_nothing_and_a_second_down_finds_nothing_to_do(own_stack: Places) -> None:
    running = _all_processes(_up(own_stack))

    assert take_down(own_stack, _silent)

    assert [process for process in running if process.is_alive()] == []
    assert _left_in(own_stack.home) == []
    assert not take_down(own_stack, _silent)


def test_what_a_killed_supervisor_left_is_replaced_by_the_next_up(own_stack: Places) -> None:
    before = _up(own_stack)
    before.supervisor.send(signal.SIGKILL)
    assert processes.wait_gone(before.supervisor, WITHIN_S)
    said = cut_off(own_stack)

    after = _up(own_stack)

    assert said is not None
    assert "and left postgres, valkey, kafka, first, second running: they are ended" in said

    assert after.is_ready()
    assert [process for process in _all_processes(before) if process.is_alive()] == []


def test_down_ends_what_a_killed_supervisor_left(own_stack: Places) -> None:
    before = _up(own_stack)
    before.supervisor.send(signal.SIGKILL)
    assert processes.wait_gone(before.supervisor, WITHIN_S)

    assert take_down(own_stack, _silent)

    assert [process for process in _all_processes(before) if process.is_alive()] == []


async def test_ports_that_were_taken_meanwhile_are_replaced_and_topics_stay(own_stack: Places) -> None:
    before = _up(own_stack)
    await _make_topic(operator_access(own_stack, _part(before, "kafka").address))
    take_down(own_stack, _silent)
    taken = [_part(before, name).address.rpartition(":")[2] for name in ("kafka", "first")]

    with (
        socket.create_server((HOST, int(taken[0]))),
        socket.create_server((HOST, int(taken[1]))),
    ):
        after = _up(own_stack)

    assert after.is_ready()
    assert _part(after, "kafka").address.rpartition(":")[2] not in taken
    assert "kept" in await _topics(operator_access(own_stack, _part(after, "kafka").address))


async def _make_topic(kafka: KafkaAccess) -> None:
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    await admin.close()


async def _topics(kafka: KafkaAccess) -> list[str]:
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


def test_system_servers_stand_in_for_the_embedded_ones(
    own_stack: Places, postgres: str, kafka: KafkaAccess, valkey_url: str, valkey_password_file: Path, tmp_path: Path
) -> None:
    secret = urlsplit(postgres).password or ""
    write_private(tmp_path / "postgres", secret)
    environ = {
        "MAESTRO_POSTGRES_URL": postgres.replace(f":{secret}@", "@", 1),
        "MAESTRO_POSTGRES_PASSWORD_FILE": str(tmp_path / "postgres"),
        **kafka_environment(kafka),
        "MAESTRO_REDIS_URL": valkey_url,
        "MAESTRO_REDIS_PASSWORD_FILE": str(valkey_password_file),
    }

    status = _up(own_stack, environ)

    assert [part.name for part in status.parts if part.process] == ["first", "second"]
    assert _login(status, "first") == "first_api@first"
    assert _left_in(own_stack.postgres) == []
    assert secret.encode() not in b"".join(_environment(process) for process in _all_processes(status))


async def test_an_administrator_who_is_no_superuser_can_provide_the_databases(
    postgres: str, fresh_database: Callable[..., str]
) -> None:
    admin = as_role(fresh_database("admin"), Role.OWNER)
    superuser = await asyncpg.connect(postgres)
    name = await superuser.fetchval("SELECT rolname FROM pg_roles WHERE rolname LIKE 'admin%owner'")
    await superuser.execute(f'ALTER ROLE "{name}" CREATEDB CREATEROLE')
    tenure = Tenure(f"given_by_{name}", dict.fromkeys(Role, "secret"))

    await provision(admin, [tenure])
    await provision(admin, [tenure])

    login = Role.WORKER.of(tenure.name)
    connection = await asyncpg.connect(dsn_for(admin, tenure.name), user=login, password="secret")
    assert await connection.fetchval("SELECT current_user") == login
    await connection.close()
    await superuser.close()
    await drop_databases(postgres, [tenure.name])
