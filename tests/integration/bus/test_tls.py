"""The bus over TLS: the broker's certificate is checked, and there is no way around it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import Message
from libs.runtime.errors import Broken, Unavailable
from tests.support.bus import fresh_name, kafka_broker, spec


async def test_what_is_published_over_tls_is_read_over_tls(kafka_over_tls: KafkaAccess) -> None:
    topic = spec(fresh_name("over-tls"), partitions=1, dead_letter=False)
    async with kafka_broker(kafka_over_tls) as broker:
        await broker.bus.ensure_topics([topic])
        await broker.bus.publisher.publish([Message(topic.name, b"key", b"value")])
        reader = broker.bus.reader(topic.name)
        await reader.start()
        async with asyncio.timeout(20):
            while not (got := (await reader.poll()).records):
                pass
        await reader.stop()

    assert [(one.key, one.value) for one in got] == [(b"key", b"value")]


async def test_a_certificate_that_no_trusted_authority_signed_is_refused(kafka_over_tls: KafkaAccess) -> None:
    with pytest.raises(Broken, match=r"is not trusted.*MAESTRO_KAFKA_CA_FILE"):
        await KafkaBus(replace(kafka_over_tls, ca_file=None), client_id="test").start()


async def test_a_certificate_for_another_host_is_refused(kafka_over_tls: KafkaAccess) -> None:
    elsewhere = kafka_over_tls.bootstrap.replace("127.0.0.1", "localhost")

    with pytest.raises(Broken, match=r"is not trusted.*localhost"):
        await KafkaBus(replace(kafka_over_tls, bootstrap=elsewhere), client_id="test").start()


async def test_a_client_without_tls_is_not_let_in(kafka_over_tls: KafkaAccess) -> None:
    with pytest.raises(Unavailable):
        await KafkaBus(replace(kafka_over_tls, protocol="SASL_PLAINTEXT"), client_id="test").start()
