"""Real PostgreSQL, Valkey and Kafka for tests: the embedded servers, started once a session when first asked for.

Fixtures (all synchronous, so that they serve any event loop):

    postgres               the superuser's DSN; `postgres_admin` is the same
    fresh_database(name)   makes an empty database with its three roles, as a service has it, and returns its DSN with
                           the password that all of them share; `as_role(dsn, role)` logs in as one
    module_database(name)  the same for what all tests of a module share
    kafka                  the operator's access to Kafka: any topic, any right; `kafka_of(service)` is a service's
    kafka_over_tls         the operator's access by the listener that speaks TLS
    valkey_url             unix://quota@/... without a password; `valkey_password` and `valkey_password_file` go with
                           it. It is the limiter's user; `valkey_onlooker_url` (password included) may do anything
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from deploy.local import processes
from deploy.local.accounts import unprivileged_account
from deploy.local.credentials import password
from deploy.local.kafka.jars import JAR_FOLDER
from deploy.local.kafka.logins import login_file
from deploy.local.kafka.server import Kafka
from deploy.local.parts import Launch, NotReady, Part
from deploy.local.places import Places, lay_places
from deploy.local.ports import Ports
from deploy.local.postgres import Postgres
from deploy.local.processes import Child
from deploy.local.provision import Tenure, dsn_for, provision
from deploy.local.valkey import User, Valkey
from libs.bus.acls import services_of
from libs.bus.kafka import KafkaAccess
from libs.schemas.topics import registry
from libs.store.roles import Role, database_of
from tests.support.authority import Authority, make_authority
from tests.support.kafka import KafkaOf

T = TypeVar("T")
ASK_AGAIN_S = 0.05
LOG_TAIL_CHARACTERS = 2000
ROLE_PASSWORD = "a-role-of-one-test"
ONLOOKER = User("onlooker", "~*", "+@all")


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
def kafka(embedded_servers: ServerSet) -> KafkaAccess:
    """The operator's access to a real Kafka broker that has topics, logins and ACLs as `maestro up` makes them."""
    places, ports = embedded_servers.places, embedded_servers.ports
    users = {name: login_file(places.secrets, name) for name in services_of(registry().values())}
    authority = make_authority(places.kafka)
    server = Kafka(places, ports, JAR_FOLDER, users, _and_over_tls(ports, authority))
    embedded_servers.start(server)
    in_own_loop(server.after_ready())
    return server.access()


def _and_over_tls(ports: Ports, authority: Authority) -> dict[str, str]:
    """The broker's properties for one more listener, called TLS."""
    names = {"CLIENTS": "kafka", "TLS": "kafka-tls", "CONTROLLER": "kafka-controller"}
    listeners = ",".join(f"{listener}://127.0.0.1:{ports.port(name)}" for listener, name in names.items())
    return {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "CLIENTS:SASL_PLAINTEXT,TLS:SASL_SSL,CONTROLLER:SASL_PLAINTEXT",
        "listener.name.tls.ssl.keystore.type": "PEM",
        "listener.name.tls.ssl.keystore.location": str(authority.server_file),
        "listener.name.tls.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
    }


@pytest.fixture(scope="session")
def kafka_of(kafka: KafkaAccess, embedded_servers: ServerSet) -> KafkaOf:
    """The access of a service, by its name."""

    def access_of(service: str) -> KafkaAccess:
        return replace(kafka, user=service, password_file=login_file(embedded_servers.places.secrets, service))

    return access_of


@pytest.fixture(scope="session")
def kafka_over_tls(kafka: KafkaAccess, embedded_servers: ServerSet) -> KafkaAccess:
    """The operator's access over TLS, with the authority that signed the broker's certificate."""
    address = f"127.0.0.1:{embedded_servers.ports.port('kafka-tls')}"
    ca_file = embedded_servers.places.kafka / "authority.pem"
    return replace(kafka, bootstrap=address, protocol="SASL_SSL", ca_file=ca_file)


@pytest.fixture(scope="session")
def valkey(embedded_servers: ServerSet) -> Valkey:
    """A real Valkey."""
    server = Valkey(embedded_servers.places, [ONLOOKER])
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


@pytest.fixture(scope="session")
def valkey_onlooker_url(valkey: Valkey) -> str:
    """Address for a test that looks into the store, password included."""
    secret = password(valkey.secret_file(ONLOOKER))
    return valkey.url(ONLOOKER).replace("@", f":{secret}@", 1)


@pytest.fixture
def fresh_database(postgres: str) -> Iterator[Callable[..., str]]:
    """A factory of empty databases, each with roles of its own; dropped when the test ends."""
    yield from _databases(postgres)


@pytest.fixture(scope="module")
def module_database(postgres: str) -> Iterator[Callable[..., str]]:
    """The same for what all tests of a module share; dropped when its last test ends."""
    yield from _databases(postgres)


def _databases(postgres: str) -> Iterator[Callable[..., str]]:
    made: list[str] = []

    def make(name: str = "fresh") -> str:
        made.append(f"{name}_{os.getpid()}_{next(_numbers)}")
        return make_database(postgres, made[-1])

    yield make
    in_own_loop(drop_databases(postgres, made))


_numbers = itertools.count(1)


def make_database(admin_dsn: str, name: str) -> str:
    """Make a database with its roles, and return its DSN with the password that they share."""
    in_own_loop(provision(admin_dsn, [Tenure(name, dict.fromkeys(Role, ROLE_PASSWORD))]))
    return dsn_for(admin_dsn, name).replace("://", f"://:{ROLE_PASSWORD}@", 1)


def as_role(dsn: str, role: Role) -> str:
    """The DSN of `make_database`, logged in as one of the database's roles."""
    return dsn.replace("://:", f"://{role.of(database_of(dsn))}:", 1)


async def drop_databases(admin_dsn: str, names: list[str]) -> None:
    """Drop these databases and their roles."""
    admin = await asyncpg.connect(admin_dsn)
    try:
        for name in names:
            await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            for role in Role:
                await admin.execute(f'DROP ROLE IF EXISTS "{role.of(name)}"')
    finally:
        await admin.close()
