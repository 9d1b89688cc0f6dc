"""Real PostgreSQL, Valkey and Kafka for tests: the embedded servers, started once a session when first asked for.

Fixtures (all synchronous, so that they serve any event loop):

    postgres               the superuser's DSN; `postgres_admin` is the same
    fresh_database(name)   makes an empty database with its own role and returns the role's DSN, password included
    module_database(name)  the same for what all tests of a module share
    kafka_bootstrap        host:port
    valkey_url             unix:///... without a password; `valkey_password` and `valkey_password_file` go with it
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from deploy.local import processes
from deploy.local.accounts import unprivileged_account
from deploy.local.credentials import password
from deploy.local.kafka.jars import JAR_FOLDER
from deploy.local.kafka.server import Kafka
from deploy.local.parts import Launch, NotReady, Part
from deploy.local.places import Places, lay_places
from deploy.local.ports import Ports
from deploy.local.postgres import Postgres
from deploy.local.processes import Child
from deploy.local.provision import Tenure, dsn_for, provision
from deploy.local.valkey import Valkey

T = TypeVar("T")
ASK_AGAIN_S = 0.05
LOG_TAIL_CHARACTERS = 2000


def in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a thread of its own, whether or not the caller stands in an event loop."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


def _keep_silent(_text: str) -> None:
    """Tests show no progress."""


@dataclass(slots=True)
class Running:
    """One started server."""

    launch: Launch
    child: Child

    def stop(self) -> None:
        """Ask it to end, then kill it; returns when it is gone."""
        processes.stop(self.child.identity, self.launch.stop_signal, self.launch.stop_grace_s)
        self.child.popen.wait()


@dataclass(slots=True)
class ServerSet:
    """The servers of one test session, in one temporary state folder."""

    places: Places
    ports: Ports
    running: list[Running] = field(default_factory=list)

    def start(self, part: Part) -> None:
        """Prepare and start a server, and wait until it answers as a ready one."""
        part.prepare(_keep_silent)
        launch = part.launch()
        assert launch is not None
        with self.places.log_of(part.name).open("ab") as log:
            child = processes.start(launch, log, die_with_parent=True)
        child.let_go()
        self.running.append(Running(launch, child))
        in_own_loop(self._until_ready(part, child))

    async def _until_ready(self, part: Part, child: Child) -> None:
        deadline = time.monotonic() + part.ready_within_s
        while True:
            try:
                await part.probe()
            except NotReady as answer:
                if child.ending() or time.monotonic() > deadline:
                    tail = self.places.log_of(part.name).read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
                    raise RuntimeError(f"{part.name} did not start: {answer}\n{tail}") from answer
                await asyncio.sleep(ASK_AGAIN_S)
            else:
                return

    def stop(self) -> None:
        """Stop everything in reverse order and remove the state."""
        for server in reversed(self.running):
            server.stop()
        shutil.rmtree(self.places.home, ignore_errors=True)


@pytest.fixture(scope="session")
def embedded_servers() -> Iterator[ServerSet]:
    """The session's set of servers; empty until one is asked for."""
    folder = Path(tempfile.mkdtemp(prefix="maestro-test-", dir="/tmp"))
    folder.chmod(0o711)  # PostgreSQL's account must be able to pass
    places = lay_places(folder / "s", unprivileged_account(os.environ))
    servers = ServerSet(places, Ports(places.run / "ports.json"))
    yield servers
    servers.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(embedded_servers: ServerSet) -> str:
    """DSN of the superuser of a real PostgreSQL 18."""
    server = Postgres(embedded_servers.places, embedded_servers.ports, unprivileged_account(os.environ))
    embedded_servers.start(server)
    in_own_loop(server.after_ready())
    return server.admin_dsn()


@pytest.fixture(scope="session")
def postgres_admin(postgres: str) -> str:
    """The same DSN, under the name that says what it may do."""
    return postgres


@pytest.fixture(scope="session")
def kafka_bootstrap(embedded_servers: ServerSet) -> str:
    """Bootstrap address of a real Kafka broker."""
    server = Kafka(embedded_servers.places, embedded_servers.ports, JAR_FOLDER)
    embedded_servers.start(server)
    return server.bootstrap()


@pytest.fixture(scope="session")
def valkey(embedded_servers: ServerSet) -> Valkey:
    """A real Valkey."""
    server = Valkey(embedded_servers.places)
    embedded_servers.start(server)
    return server


@pytest.fixture(scope="session")
def valkey_url(valkey: Valkey) -> str:
    """Address of a real Valkey, without its password."""
    return valkey.url()


@pytest.fixture(scope="session")
def valkey_password_file(valkey: Valkey) -> Path:
    """File that holds the password of `valkey_url`."""
    return valkey.secret_file()


@pytest.fixture(scope="session")
def valkey_password(valkey_password_file: Path) -> str:
    """Password of `valkey_url`."""
    return password(valkey_password_file)


@pytest.fixture
def fresh_database(postgres: str) -> Iterator[Callable[..., str]]:
    """A factory of empty databases, each with a role of its own that owns it; dropped when the test ends."""
    yield from _databases(postgres)


@pytest.fixture(scope="module")
def module_database(postgres: str) -> Iterator[Callable[..., str]]:
    """The same for what all tests of a module share; dropped when its last test ends."""
    yield from _databases(postgres)


def _databases(postgres: str) -> Iterator[Callable[..., str]]:
    made: list[Tenure] = []

    def make(name: str = "fresh") -> str:
        tenure = Tenure(f"{name}_{os.getpid()}_{next(_numbers)}", "a-role-of-one-test")
        in_own_loop(provision(postgres, [tenure]))
        made.append(tenure)
        return dsn_for(postgres, tenure, with_password=True)

    yield make
    in_own_loop(_drop(postgres, made))


_numbers = itertools.count(1)


async def _drop(admin_dsn: str, tenures: list[Tenure]) -> None:
    admin = await asyncpg.connect(admin_dsn)
    try:
        for tenure in tenures:
            await admin.execute(f'DROP DATABASE IF EXISTS "{tenure.name}" WITH (FORCE)')
            await admin.execute(f'DROP ROLE IF EXISTS "{tenure.name}"')
    finally:
        await admin.close()
