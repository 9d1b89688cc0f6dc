"""The ACLs of a real broker are those of proto/topics; what differs is shown, and put right."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from libs.bus.acls import Acl, Drift, Operation, Resource, acls_of
from libs.bus.cli import main
from libs.bus.kafka import KafkaAccess
from libs.bus.kafka.administration import KafkaAdministration, administration
from libs.runtime.errors import Broken
from libs.runtime.secret_files import password
from libs.runtime.settings import ServiceSettings
from libs.schemas.topics import registry
from tests.support.bus import bus_store, kafka_broker
from tests.support.kafka import KafkaOf, kafka_settings
from tests.support.kafka_attempts import client_of, may_read, may_write
from tests.support.stack import in_own_loop

TOO_MUCH = Acl("quota", Operation.WRITE, Resource.TOPIC, "invoices")
WHY = ("--reason", "a test")
NEEDED = Acl("quota", Operation.READ, Resource.TOPIC, "usage-windows")


@pytest.fixture
async def broker(kafka: KafkaAccess) -> AsyncIterator[KafkaAdministration]:
    async with administration(kafka) as connected:
        yield connected


@pytest.fixture
def settings(
    kafka: KafkaAccess, fresh_database: Callable[..., str], actor_key: Path, tmp_path: Path
) -> ServiceSettings:
    """An operator's, with the store of identity."""
    (tmp_path / "secrets").mkdir()
    dsn = fresh_database("identity")
    in_own_loop(_make_store(dsn))
    return ServiceSettings(state_dir=tmp_path, postgres_url=dsn, actor_key_file=actor_key, **kafka_settings(kafka))


async def _make_store(dsn: str) -> None:
    async with bus_store(dsn):
        pass


async def test_the_brokers_acls_are_those_of_the_registry(broker: KafkaAdministration) -> None:
    assert await broker.acls() == acls_of(registry().values())


async def test_one_too_many_and_one_too_few_are_found_and_put_right(broker: KafkaAdministration) -> None:
    await broker.change_acls(add=[TOO_MUCH])
    await broker.change_acls(remove=[NEEDED])

    found = await broker.drift(registry().values())
    applied = await broker.apply_acls(registry().values())

    assert found == Drift(missing=frozenset({NEEDED}), extra=frozenset({TOO_MUCH}))
    assert applied == found
    assert not await broker.drift(registry().values())


async def test_a_wider_right_of_a_service_is_drift_too(broker: KafkaAdministration) -> None:
    everything = [
        Acl("metering", Operation.ALL, Resource.CLUSTER, "kafka-cluster"),
        Acl("a-stranger", Operation.READ, Resource.TOPIC, "invoices"),
        replace(TOO_MUCH, user="evidence", host="10.0.0.1"),
    ]
    await broker.change_acls(add=everything)

    assert (await broker.apply_acls(registry().values())).extra == set(everything)


async def test_what_others_have_on_a_shared_broker_is_let_be(broker: KafkaAdministration) -> None:
    others = Acl("payroll", Operation.READ, Resource.TOPIC, "salaries")
    await broker.change_acls(add=[others])

    assert not await broker.apply_acls(registry().values())
    assert others in await broker.acls()
    await broker.change_acls(remove=[others])


def test_the_verb_shows_drift_and_another_puts_it_right(
    settings: ServiceSettings, kafka: KafkaAccess, capsys: pytest.CaptureFixture[str]
) -> None:
    in_own_loop(_widen(kafka))

    assert main(["acls"], lambda _: settings) == 1
    assert capsys.readouterr().out == "extra    quota: allows write on topic invoices\n"
    assert main(["provision", *WHY], lambda _: settings) == 0
    assert capsys.readouterr().out == "removed  quota: allows write on topic invoices\n"
    assert main(["acls"], lambda _: settings) == 0
    assert capsys.readouterr().out == "the ACLs are those of proto/topics\n"


async def _widen(kafka: KafkaAccess, acl: Acl = TOO_MUCH) -> None:
    async with administration(kafka) as broker:
        await broker.change_acls(add=[acl])


def test_what_a_stranger_wrote_into_an_acl_moves_no_cursor(
    settings: ServiceSettings, kafka: KafkaAccess, capsys: pytest.CaptureFixture[str]
) -> None:
    in_own_loop(_widen(kafka, replace(TOO_MUCH, user="quota\x1b[2K\u202e")))

    assert main(["acls"], lambda _: settings) == 1
    assert capsys.readouterr().out == "extra    quota\\x1b[2K\\u202e: allows write on topic invoices\n"
    assert main(["provision", *WHY], lambda _: settings) == 0
    assert capsys.readouterr().out == "removed  quota\\x1b[2K\\u202e: allows write on topic invoices\n"


def test_a_login_that_no_topic_knows_is_not_made(settings: ServiceSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add-user", "a-stranger", *WHY], lambda _: settings) == 1
    assert (
        "'a-stranger' is none of: evidence, identity, invoicing, metering, quota, collector[.<name>]"
        in capsys.readouterr().err
    )


def test_a_login_is_made_with_a_password_that_only_its_file_tells(
    settings: ServiceSettings, kafka_of: KafkaOf, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kafka_of("evidence").password_file
    assert before is not None

    assert main(["add-user", "evidence", *WHY], lambda _: settings) == 0

    made = settings.state_dir / "secrets" / "evidence.kafka.password"
    said = capsys.readouterr().out
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert str(made) in said
    assert password(made) not in said
    in_own_loop(_logs_in(replace(kafka_of("evidence"), password_file=made)))
    assert main(["add-user", "evidence", "--password-file", str(before), *WHY], lambda _: settings) == 0


async def _logs_in(access: KafkaAccess) -> None:
    async with kafka_broker(access):
        pass


def test_a_producer_that_a_topic_names_writes_there_and_does_nothing_else_until_it_is_removed(
    settings: ServiceSettings, kafka: KafkaAccess, capsys: pytest.CaptureFixture[str]
) -> None:
    file = settings.state_dir / "secrets" / "collector.first.kafka.password"
    assert main(["add-user", "collector.first", *WHY], lambda _: settings) == 0
    assert "added    collector.first: allows write on topic otlp_spans" in capsys.readouterr().out
    collector = replace(kafka, user="collector.first", password_file=file)

    found = in_own_loop(_rights(collector, "otlp_spans", "usage-events", "usage-shards"))

    assert found == {"otlp_spans": (False, True), "usage-events": (False, False), "usage-shards": (False, False)}
    assert main(["acls"], lambda _: settings) == 0
    assert main(["remove-user", "collector.first", *WHY], lambda _: settings) == 0
    with pytest.raises(Broken, match=r"refuses the login of 'collector\.first'"):
        in_own_loop(_logs_in(collector))


async def _rights(access: KafkaAccess, *topics: str) -> dict[str, tuple[bool, bool]]:
    async with client_of(access) as client:
        return {name: (await may_read(client, name), await may_write(client, name)) for name in topics}
