"""Nobody enters the embedded broker without the right login: neither its clients' listener nor its controller's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed
from aiokafka.protocol.admin import ListGroupsRequest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.kafka.scram_requests import ChangeLoginsRequest
from libs.runtime.errors import Broken, Unavailable
from libs.signing.scram import salted
from tests.support.kafka import KafkaOf
from tests.support.stack import ServerSet

REFUSED = (KafkaError, OSError, TimeoutError)


async def test_a_wrong_password_is_told_and_where_the_right_one_belongs(kafka_of: KafkaOf, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("not-the-password")
    bus = KafkaBus(replace(kafka_of("quota"), password_file=tmp_path / "password"), client_id="test")

    with pytest.raises(Broken, match=r"refuses the login of 'quota'.*MAESTRO_KAFKA_PASSWORD_FILE"):
        await bus.start()


async def test_a_login_that_does_not_exist_is_refused(kafka: KafkaAccess) -> None:
    with pytest.raises(Broken, match="refuses the login of 'nobody'"):
        await KafkaBus(replace(kafka, user="nobody"), client_id="test").start()


async def test_without_a_login_no_client_is_made() -> None:
    with pytest.raises(Broken, match="set MAESTRO_KAFKA_USER and MAESTRO_KAFKA_PASSWORD_FILE"):
        await KafkaBus(KafkaAccess("127.0.0.1:1", "", None), client_id="test").start()


async def test_a_broker_that_is_down_is_unavailable_whatever_the_password(kafka: KafkaAccess) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await KafkaBus(replace(kafka, bootstrap="127.0.0.1:1"), client_id="test").start()


async def test_a_client_without_a_login_hears_nothing(kafka: KafkaAccess) -> None:
    host, _, port = kafka.bootstrap.partition(":")
    connection = await create_conn(host, int(port), request_timeout_ms=5_000)

    with pytest.raises(REFUSED):
        await connection.send(ListGroupsRequest())


@pytest.fixture
def controller(kafka: KafkaAccess, embedded_servers: ServerSet) -> tuple[str, int]:
    """Host and port of the controller's listener."""
    assert kafka
    known: dict[str, int] = json.loads(embedded_servers.places.ports.read_text())
    return "127.0.0.1", known["kafka-controller"]


async def test_the_controller_hears_nobody_without_a_login(controller: tuple[str, int]) -> None:
    connection = await create_conn(*controller, request_timeout_ms=5_000)

    with pytest.raises(REFUSED):
        await connection.send(ChangeLoginsRequest({"intruder": salted("a-password")}))


@pytest.mark.parametrize("user", ["broker", "operator", "quota"])
async def test_the_controller_refuses_a_wrong_password(controller: tuple[str, int], user: str) -> None:
    with pytest.raises(SaslAuthenticationFailed):
        await create_conn(*controller, **_plain(user, "not-the-password"))


async def test_the_controller_refuses_the_login_of_a_service(controller: tuple[str, int], kafka_of: KafkaOf) -> None:
    file = kafka_of("quota").password_file
    assert file is not None

    with pytest.raises(SaslAuthenticationFailed):
        await create_conn(*controller, **_plain("quota", file.read_text().strip()))


def _plain(user: str, secret: str) -> dict[str, Any]:
    login = {"sasl_mechanism": "PLAIN", "sasl_plain_username": user, "sasl_plain_password": secret}
    return login | {"security_protocol": "SASL_PLAINTEXT", "request_timeout_ms": 5_000}


def test_no_secret_of_the_broker_is_on_its_command_line_in_its_environment_or_in_its_log(
    kafka: KafkaAccess, embedded_servers: ServerSet
) -> None:
    assert kafka
    places = embedded_servers.places
    (running,) = [one for one in embedded_servers.running if "kafka.Kafka" in one.launch.argv]
    secrets = [file.read_text().strip() for file in places.secrets.glob("*.kafka.password")]
    shown = [
        Path(f"/proc/{running.child.identity.pid}/{what}").read_bytes().decode() for what in ("cmdline", "environ")
    ]

    told = [*shown, places.log_of("kafka").read_text(), (places.kafka / "server.properties").read_text()]

    assert len(secrets) >= 7  # the operator, the node, five services
    assert [secret for secret in secrets if any(secret in text for text in told)] == []
    assert not (places.secrets / "kafka.format").exists()
