"""One attempt to read a topic and one to write it, on the wire: what the authorizer says; nothing is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from libs.bus.kafka import KafkaAccess

DENIED: Final = 29  # TOPIC_AUTHORIZATION_FAILED
CORRUPT: Final = 2  # what a writer hears who was let in, with a batch whose checksum is wrong
NODE: Final = 1  # the one broker
ALL_REPLICAS: Final = -1


@asynccontextmanager
async def client_of(access: KafkaAccess) -> AsyncIterator[Any]:
    """A client that is logged in."""
    client = AIOKafkaClient(**access.client_settings(), client_id="attempts")
    await client.bootstrap()
    try:
        yield client
    finally:
        await client.close()


async def may_read(client: Any, topic: str) -> bool:
    """Whether a fetch is answered with anything but a denial."""
    answer = await client.send(NODE, FetchRequest(0, 0, 1024, 0, [(topic, [(0, 0, 1024)])]))
    ((_, ((_, code, *_),)),) = answer.topics
    return bool(code != DENIED)


async def may_write(client: Any, topic: str) -> bool:
    """Whether a batch is looked at: one that nobody can keep, so that nothing is left of the attempt."""
    answer = await client.send(NODE, ProduceRequest(None, ALL_REPLICAS, 5_000, [(topic, [(0, _corrupt_batch())])]))
    ((_, ((_, code, *_),)),) = answer.topics
    assert code in {DENIED, CORRUPT}, f"writing to {topic} was answered by {code}"
    return bool(code == CORRUPT)


def _corrupt_batch() -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=512,
    )
    builder.append(0, timestamp=0, key=b"key", value=b"value", headers=[])
    batch = bytearray(builder.build())
    batch[-1] ^= 0xFF
    return bytes(batch)
