from __future__ import annotations

import asyncio

import pytest

from libs.bus.ports import Bus, OutOfRange, Reader
from libs.bus.records import Message, TopicPartition
from libs.schemas.topics import TopicSpec
from tests.contract.bus.test_publishing import read_all
from tests.support.bus import Broker


async def test_a_reader_is_told_where_each_partition_ends(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"k", b"v", partition=3)] * 2)

    reader = bus.reader(topic.name)

    assert await reader.start() == {0: 0, 1: 0, 2: 0, 3: 2}
    await reader.stop()


async def test_a_reader_goes_on_from_given_positions(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"k", b"%d" % number, partition=1) for number in range(5)])
    reader = bus.reader(topic.name)

    await reader.start({1: 3})
    got = await reader.poll()
    await reader.stop()

    assert [record.value for record in got.records] == [b"3", b"4"]
    assert got.positions[TopicPartition(topic.name, 1)] == 5


async def test_two_readers_each_get_everything(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"%d" % number, b"v") for number in range(20)])

    assert len(await read_all(bus, topic.name, 20)) == len(await read_all(bus, topic.name, 20)) == 20


async def test_a_reader_out_of_range_says_so(broker: Broker, topic: TopicSpec) -> None:
    reader = broker.bus.reader(topic.name)
    await reader.start({2: 1000})

    with pytest.raises(OutOfRange) as raised:
        await _polled_on(reader)

    await reader.stop()
    assert (raised.value.source, raised.value.offset) == (TopicPartition(topic.name, 2), 1000)


async def test_the_start_moves_up_when_records_expire(broker: Broker, topic: TopicSpec) -> None:
    await broker.bus.publisher.publish([Message(topic.name, b"k", b"v", partition=0)] * 10)

    await broker.drop_before(TopicPartition(topic.name, 0), 4)

    assert (await broker.bus.start_offsets(topic.name))[0] == 4


async def _polled_on(reader: Reader) -> None:
    """Poll until it raises: one poll waits a quarter of a second, and the broker's answer may take longer."""
    async with asyncio.timeout(30):
        while True:
            await reader.poll()
