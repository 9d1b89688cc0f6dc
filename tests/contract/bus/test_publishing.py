from __future__ import annotations

import asyncio
from random import Random

import pytest

from libs.bus.partitioner import partition_of
from libs.bus.ports import Bus
from libs.bus.records import Message, Record
from libs.runtime.errors import TooLarge, Unavailable
from libs.schemas.topics import TopicSpec

NOISE = Random(1).randbytes(1_200_000)  # noqa: S311 - so that compression does not bring it below the bound


async def read_all(bus: Bus, topic: str, count: int) -> list[Record]:
    """The first `count` records of the topic, or more."""
    reader = bus.reader(topic)
    await reader.start()
    records: list[Record] = []
    async with asyncio.timeout(30):
        while len(records) < count:
            records += (await reader.poll()).records
    await reader.stop()
    return records


async def test_a_message_arrives_as_it_was_given(bus: Bus, topic: TopicSpec) -> None:
    headers = (("one", b"\x00\xff"), ("two", b""))

    await bus.publisher.publish([Message(topic.name, b"key", b"value", headers)])

    (record,) = await read_all(bus, topic.name, 1)
    assert (record.key, record.value, record.headers, record.offset) == (b"key", b"value", headers, 0)


async def test_a_tombstone_has_no_value(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"key", None)])

    (record,) = await read_all(bus, topic.name, 1)
    assert record.value is None


async def test_what_was_published_is_durable_when_the_call_returns(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"%d" % number, b"v") for number in range(1000)])

    assert sum((await bus.end_offsets(topic.name)).values()) == 1000


async def test_messages_of_one_partition_keep_their_order(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"same", b"%d" % number) for number in range(5000)])

    records = await read_all(bus, topic.name, 5000)
    assert [record.value for record in records] == [b"%d" % number for number in range(5000)]


async def test_calls_at_once_lose_nothing(bus: Bus, topic: TopicSpec) -> None:
    calls = [bus.publisher.publish([Message(topic.name, None, b"%d" % number)]) for number in range(500)]

    await asyncio.gather(*calls)

    records = await read_all(bus, topic.name, 500)
    assert sorted(record.value or b"" for record in records) == sorted(b"%d" % number for number in range(500))


async def test_the_key_decides_the_partition_as_kafkas_own_partitioner_does(bus: Bus, topic: TopicSpec) -> None:
    keys = [b"tenant/%d" % number for number in range(50)]

    await bus.publisher.publish([Message(topic.name, key, b"v") for key in keys])

    records = await read_all(bus, topic.name, 50)
    assert {record.key: record.partition for record in records} == {key: partition_of(key, 4) for key in keys}


async def test_a_named_partition_goes_before_the_key(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"k", b"v", partition=number) for number in (0, 1, 2, 3)])

    assert set((await bus.end_offsets(topic.name)).values()) == {1}


async def test_a_message_over_the_topics_bound_is_refused(bus: Bus, topic: TopicSpec) -> None:
    with pytest.raises(TooLarge):
        await bus.publisher.publish([Message(topic.name, b"k", NOISE)])


async def test_after_a_refused_message_the_next_call_goes_through(bus: Bus, topic: TopicSpec) -> None:
    with pytest.raises(TooLarge):
        await bus.publisher.publish([Message(topic.name, b"k", NOISE)])

    await bus.publisher.publish([Message(topic.name, b"k", b"small")])

    assert [record.value for record in await read_all(bus, topic.name, 1)] == [b"small"]


async def test_publishing_to_a_missing_topic_is_unavailable(bus: Bus) -> None:
    with pytest.raises(Unavailable):
        await bus.publisher.publish([Message("no-such-topic", b"k", b"v")])


async def test_past_the_deadline_nothing_is_sent(bus: Bus, topic: TopicSpec) -> None:
    late_s = asyncio.get_running_loop().time() - 0.001

    with pytest.raises(Unavailable, match="too late"):
        await bus.publisher.publish([Message(topic.name, b"k", b"late")], until_s=late_s)

    assert sum((await bus.end_offsets(topic.name)).values()) == 0


async def test_before_the_deadline_all_is_sent(bus: Bus, topic: TopicSpec) -> None:
    until_s = asyncio.get_running_loop().time() + 30

    await bus.publisher.publish([Message(topic.name, b"k", b"in time")], until_s=until_s)

    assert sum((await bus.end_offsets(topic.name)).values()) == 1


async def test_publishing_nothing_is_done_at_once(bus: Bus) -> None:
    await bus.publisher.publish([])


async def test_a_record_says_when_the_broker_appended_it(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"k", b"v")])
    await bus.publisher.publish([Message(topic.name, b"k", b"v")])

    first, second = await read_all(bus, topic.name, 2)
    assert 1_700_000_000_000 < first.appended_at_ms <= second.appended_at_ms
