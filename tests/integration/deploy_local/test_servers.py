"""The embedded servers are real, ask for passwords, and keep each service to its own database."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

FreshDatabase = Callable[..., str]


async def test_postgresql_18_answers_its_superuser(postgres: str) -> None:
    connection = await asyncpg.connect(postgres)

    version = await connection.fetchval("SHOW server_version")

    assert version.startswith("18.")
    await connection.close()


async def test_postgresql_refuses_a_wrong_password_over_the_socket(postgres: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres, password="wrong")


async def test_postgresql_refuses_a_wrong_password_over_tcp(postgres: str) -> None:
    port = urlsplit(postgres).query.rpartition("port=")[2]

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host="127.0.0.1", port=int(port), user="maestro", database="postgres", password="wrong")


async def test_every_password_is_kept_as_a_scram_verifier(postgres: str, fresh_database: FreshDatabase) -> None:
    fresh_database()
    connection = await asyncpg.connect(postgres)

    kept = await connection.fetch("SELECT rolpassword FROM pg_authid WHERE rolcanlogin")

    assert {row[0].partition("$")[0] for row in kept} == {"SCRAM-SHA-256"}
    await connection.close()


async def test_a_role_owns_its_own_database(fresh_database: FreshDatabase) -> None:
    connection = await asyncpg.connect(fresh_database("own"))

    await connection.execute("CREATE TABLE kept (id int)")

    assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    await connection.close()


@pytest.mark.parametrize("other", ["another service's", "postgres", "template1"])
async def test_a_role_cannot_connect_to_another_database(fresh_database: FreshDatabase, other: str) -> None:
    databases = {"another service's": urlsplit(fresh_database("theirs")).path.lstrip("/")}
    mine = fresh_database("mine")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(mine, database=databases.get(other, other))


async def test_a_role_is_no_superuser_and_makes_no_roles(fresh_database: FreshDatabase) -> None:
    connection = await asyncpg.connect(fresh_database())

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE ROLE intruder")

    await connection.close()


async def test_valkey_answers_only_with_the_password(valkey_url: str, valkey_password: str) -> None:
    stranger = Redis.from_url(valkey_url)
    known = Redis.from_url(valkey_url, password=valkey_password)

    with pytest.raises(RedisConnectionError, match=r"(?i)auth"):
        await stranger.ping()

    assert await known.ping()
    await stranger.aclose()
    await known.aclose()


async def test_kafka_gives_back_what_was_written(kafka_bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("embedded-round-trip", num_partitions=2, replication_factor=1)])
    await admin.close()

    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait("embedded-round-trip", b"value", key=b"key")
    async with AIOKafkaConsumer(
        "embedded-round-trip", bootstrap_servers=kafka_bootstrap, group_id="reader", auto_offset_reset="earliest"
    ) as consumer:
        record = await consumer.getone()

    assert (record.key, record.value) == (b"key", b"value")
