"""Every service at the real broker under its own login: it may do what proto/topics says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from libs.bus.acls import services_of
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.kafka.administration import administration
from libs.bus.ports import Subscriber
from libs.bus.records import Message
from libs.runtime.errors import Broken
from libs.runtime.metrics import start_metrics
from libs.schemas.topics import TopicSpec, dead_letter_spec, registry
from tests.support.bus import fresh_name, spec
from tests.support.exposed import exposed
from tests.support.kafka import KafkaOf
from tests.support.kafka_attempts import client_of, may_read, may_write

SERVICES = sorted(services_of(registry().values()))
SAID_WITHIN_S = 20.0  # a denial is one answer of the broker; the rest is for a machine that is busy


def names_of(one: TopicSpec) -> Iterator[str]:
    yield one.name
    yield one.dead_letter_topic


def allowed(service: str) -> dict[str, tuple[bool, bool]]:
    """For every topic whether it reads and writes: owners write unless producers do, consumers set letters aside."""
    found: dict[str, tuple[bool, bool]] = {}
    for one in registry().values():
        owns, consumes = service == one.owner, service in one.consumers
        found[one.name] = (owns or consumes, owns and not one.producers)
        sets_aside = service in dead_letter_spec(one).producers
        found[one.dead_letter_topic] = (sets_aside, sets_aside)
    return found


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_and_writes_what_the_registry_gives_it_and_nothing_else(
    service: str, kafka_of: KafkaOf
) -> None:
    async with client_of(kafka_of(service)) as client:
        every = [name for one in registry().values() for name in names_of(one)]
        found = {name: (await may_read(client, name), await may_write(client, name)) for name in every}

    assert found == allowed(service)


async def test_a_topic_that_no_file_names_is_nobodys(kafka: KafkaAccess, kafka_of: KafkaOf) -> None:
    operator = KafkaBus(kafka, client_id="test")
    await operator.start()
    stray = spec(fresh_name("stray"), dead_letter=False)
    await operator.ensure_topics([stray])
    await operator.stop()

    for service in SERVICES:
        async with client_of(kafka_of(service)) as client:
            assert (await may_read(client, stray.name), await may_write(client, stray.name)) == (False, False)


@pytest.fixture
async def quota(kafka_of: KafkaOf) -> KafkaBus:
    bus = KafkaBus(kafka_of("quota"), client_id="test")
    await bus.start()
    return bus


async def test_a_denied_writer_is_told_so_and_where_that_is_decided_and_it_is_counted(quota: KafkaBus) -> None:
    start_metrics("quota")
    [before] = exposed("maestro_bus_denied_total", topic="invoices") or [0.0]
    async with asyncio.timeout(SAID_WITHIN_S):
        with pytest.raises(Broken, match=r"does not allow it.*invoices.*proto/topics.*maestro bus provision"):
            await quota.publisher.publish([Message("invoices", b"key", b"value")])
    await quota.stop()
    [after] = exposed("maestro_bus_denied_total", topic="invoices")
    assert after > before


async def test_a_writer_that_may_only_read_is_told_so(kafka_of: KafkaOf) -> None:
    bus = KafkaBus(kafka_of("invoicing"), client_id="test")
    await bus.start()

    async with asyncio.timeout(SAID_WITHIN_S):
        with pytest.raises(Broken, match="does not allow it: publishing to usage-windows"):
            await bus.publisher.publish([Message("usage-windows", b"key", b"value")])
    await bus.stop()


async def test_a_service_does_not_speak_under_the_name_of_anothers_relay(quota: KafkaBus) -> None:
    async with asyncio.timeout(SAID_WITHIN_S):
        with pytest.raises(Broken, match="does not allow it"):
            await quota.voice("maestro.metering.relay").publish([Message("plan-changes", b"key", b"value")])
    await quota.stop()


async def test_a_denied_reader_is_told_so(quota: KafkaBus) -> None:
    async with asyncio.timeout(SAID_WITHIN_S):
        with pytest.raises(Broken, match="does not allow it"):
            await quota.reader("invoices").start()
    await quota.stop()


async def test_a_member_of_anothers_group_is_told_so(quota: KafkaBus) -> None:
    member = quota.subscriber(["usage-windows"], group="maestro.invoicing.windows", instance="0", max_records=1)

    async with asyncio.timeout(SAID_WITHIN_S):
        with pytest.raises(Broken, match=r"does not allow it.*maestro\.invoicing\.windows"):
            await _join(member)
    await member.stop()
    await quota.stop()


async def test_a_consumer_of_a_denied_topic_is_told_so(quota: KafkaBus) -> None:
    member = quota.subscriber(["invoices"], group="maestro.quota.test", instance="0", max_records=1)

    async with asyncio.timeout(SAID_WITHIN_S):
        with pytest.raises(Broken, match="does not allow it"):
            await _join(member)
    await member.stop()
    await quota.stop()


async def _join(member: Subscriber) -> None:
    await member.start()
    while True:
        await member.poll()


async def test_a_service_makes_no_topics(quota: KafkaBus) -> None:
    with pytest.raises(Broken, match="does not allow it"):
        await quota.ensure_topics([spec(fresh_name("own"))])
    await quota.stop()


async def test_a_service_finds_all_topics_that_it_needs(quota: KafkaBus) -> None:
    await quota.require_topics({"usage-windows", "usage-windows-dlq", "plan-changes"})

    with pytest.raises(Broken, match="does not allow it: topic invoices"):
        await quota.require_topics({"usage-windows", "invoices"})
    await quota.stop()


async def test_a_service_gives_no_rights_and_makes_no_logins(kafka_of: KafkaOf) -> None:
    async with administration(kafka_of("metering")) as broker:
        with pytest.raises(Broken, match="rights of a super user"):
            await broker.acls()
        with pytest.raises(Broken, match="rights of a super user"):
            await broker.set_passwords({"metering": "another-password-of-a-test"})
        with pytest.raises(Broken, match="rights of a super user"):
            await broker.logins()
