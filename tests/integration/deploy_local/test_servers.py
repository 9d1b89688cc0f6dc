"""The embedded servers are real, ask for passwords, and keep each service to its own database."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.accounts import unprivileged_account
from deploy.local.packages import installed_programs
from deploy.local.places import lay_places
from deploy.local.ports import Ports
from deploy.local.postgres import Postgres
from libs.bus.kafka import KafkaAccess
from libs.store.roles import Role
from tests.support.stack import ServerSet, as_role

FreshDatabase = Callable[..., str]


async def test_postgresql_18_answers_its_superuser(postgres: str) -> None:
    connection = await asyncpg.connect(postgres)

    version = await connection.fetchval("SHOW server_version")

    assert version.startswith("18.")
    await connection.close()


async def test_postgresql_refuses_a_wrong_password_over_the_socket(postgres: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres, password="wrong")


async def test_postgresql_listens_on_no_network(postgres: str) -> None:
    connection = await asyncpg.connect(postgres)

    listens = await connection.fetchval("SHOW listen_addresses")

    assert listens == ""
    await connection.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(host="127.0.0.1", port=int(postgres.rpartition("port=")[2]), user="maestro")


def test_the_socket_lies_in_a_folder_that_only_the_servers_account_enters(postgres: str) -> None:
    folder = Path(parse_qs(urlsplit(postgres).query)["host"][0])
    account = unprivileged_account(os.environ)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == (account.uid if account else os.getuid())


async def test_every_password_is_kept_as_a_scram_verifier(postgres: str, fresh_database: FreshDatabase) -> None:
    fresh_database()
    connection = await asyncpg.connect(postgres)

    kept = await connection.fetch("SELECT rolpassword FROM pg_authid WHERE rolcanlogin")

    assert {row[0].partition("$")[0] for row in kept} == {"SCRAM-SHA-256"}
    await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends an account that may be shut out")
def test_programs_that_the_account_cannot_reach_are_copied_and_nothing_is_opened(
    embedded_servers: ServerSet, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = installed_programs().parents[1]
    shutil.copytree(package, closed / package.name, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    folder = embedded_servers.places.home / "closed-out"
    account = unprivileged_account(os.environ)
    assert account is not None
    places = lay_places(folder, account)
    server = Postgres(places, Ports(places.ports), account, installed=lambda: closed / package.name / "pginstall/bin")

    embedded_servers.start(server)

    assert server.launch().argv[0].startswith(str(places.postgres))
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


async def test_the_owner_makes_tables_in_its_own_database(fresh_database: FreshDatabase) -> None:
    connection = await asyncpg.connect(as_role(fresh_database("own"), Role.OWNER))

    await connection.execute("CREATE TABLE kept (id int)")

    assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    await connection.close()


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("other", ["another service's", "postgres", "template1"])
async def test_no_role_can_connect_to_another_database(fresh_database: FreshDatabase, role: Role, other: str) -> None:
    databases = {"another service's": urlsplit(fresh_database("theirs")).path.lstrip("/")}
    mine = as_role(fresh_database("mine"), role)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(mine, database=databases.get(other, other))


@pytest.mark.parametrize("role", Role)
async def test_no_role_makes_roles(fresh_database: FreshDatabase, role: Role) -> None:
    connection = await asyncpg.connect(as_role(fresh_database(), role))

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE ROLE intruder")

    await connection.close()


async def test_kafka_gives_back_what_was_written(kafka: KafkaAccess) -> None:
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    await admin.create_topics([NewTopic("embedded-round-trip", num_partitions=2, replication_factor=1)])
    await admin.close()

    async with AIOKafkaProducer(**kafka.client_settings(), acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait("embedded-round-trip", b"value", key=b"key")
    async with AIOKafkaConsumer(
        "embedded-round-trip", **kafka.client_settings(), group_id="reader", auto_offset_reset="earliest"
    ) as consumer:
        record = await consumer.getone()

    assert (record.key, record.value) == (b"key", b"value")
