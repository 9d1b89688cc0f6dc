from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from libs.bus.marks import Mark
from libs.bus.ports import Bus, Fetched, OutOfRange, Subscriber
from libs.bus.records import Message, TopicPartition
from libs.schemas.topics import TopicSpec
from tests.support.bus import Broker, assignment, fetch, fresh_name

Join = Callable[..., Subscriber]


@pytest.fixture
async def member(bus: Bus, topic: TopicSpec) -> AsyncIterator[Join]:
    """Make members of one group by instance; they are stopped at the end."""
    group = fresh_name("group")
    async with AsyncExitStack() as stack:

        def make(instance: str, max_records: int = 500) -> Subscriber:
            made = bus.subscriber([topic.name], group=group, instance=instance, max_records=max_records)
            stack.push_async_callback(made.stop)
            return made

        yield make


async def started(subscriber: Subscriber) -> frozenset[TopicPartition]:
    await subscriber.start()
    return await assignment(subscriber)


def from_the_start(partitions: frozenset[TopicPartition]) -> dict[TopicPartition, int]:
    return dict.fromkeys(partitions, 0)


async def numbers(bus: Bus, topic: TopicSpec, count: int, partition: int = 0) -> None:
    await bus.publisher.publish([Message(topic.name, None, b"%d" % n, partition=partition) for n in range(count)])


async def test_a_lone_member_is_given_every_partition(topic: TopicSpec, member: Join) -> None:
    given = await started(member("a"))

    assert given == {TopicPartition(topic.name, number) for number in range(4)}


async def test_nothing_flows_until_the_member_has_said_from_where(bus: Bus, topic: TopicSpec, member: Join) -> None:
    await numbers(bus, topic, 3)
    subscriber = member("a")
    await started(subscriber)

    got = await subscriber.poll()

    assert isinstance(got, Fetched)
    assert not got.records


async def test_records_come_in_order_from_the_offset_that_was_named(bus: Bus, topic: TopicSpec, member: Join) -> None:
    await numbers(bus, topic, 10)
    subscriber = member("a")
    given = await started(subscriber)

    subscriber.resume_at(from_the_start(given) | {TopicPartition(topic.name, 0): 6})
    records, last = await fetch(subscriber, 4)

    assert [record.offset for record in records] == [6, 7, 8, 9]
    assert last.positions[TopicPartition(topic.name, 0)] == 10


async def test_one_poll_brings_no_more_than_was_asked_for(bus: Bus, topic: TopicSpec, member: Join) -> None:
    await numbers(bus, topic, 10)
    subscriber = member("a", max_records=4)
    subscriber.resume_at(from_the_start(await started(subscriber)))

    records, last = await fetch(subscriber, 1)

    assert len(records) == len(last.records) <= 4


async def test_going_back_brings_the_same_records_again(bus: Bus, topic: TopicSpec, member: Join) -> None:
    await numbers(bus, topic, 5)
    subscriber = member("a", max_records=3)
    given = await started(subscriber)
    subscriber.resume_at(from_the_start(given))
    await fetch(subscriber, 3)

    subscriber.resume_at(from_the_start(given))
    records, _ = await fetch(subscriber, 5)

    assert [record.offset for record in records] == [0, 1, 2, 3, 4]


async def test_a_second_member_gets_its_share_and_the_first_keeps_the_rest(topic: TopicSpec, member: Join) -> None:
    first, second = member("a"), member("b")
    await started(first)
    joining = asyncio.create_task(started(second))

    kept = await assignment(first)
    given = await joining

    assert not kept & given
    assert kept | given == {TopicPartition(topic.name, number) for number in range(4)}


async def test_a_rebalance_ends_what_was_current(member: Join) -> None:
    first = member("a")
    await started(first)
    assert first.is_current()
    joining = asyncio.create_task(started(member("b")))

    await assignment(first)

    assert first.is_current()  # the new share, not the old one
    await joining


async def test_a_member_that_comes_back_finds_its_partitions(member: Join) -> None:
    gone = member("a")
    before = await started(gone)
    await gone.stop()

    assert await started(member("a")) == before


async def test_a_member_that_comes_back_to_a_grown_topic_gets_the_rest_when_it_asks(
    broker: Broker, topic: TopicSpec, member: Join
) -> None:
    gone = member("a")
    before = await started(gone)
    await gone.stop()
    await broker.add_partitions(topic.name, 6)
    back = member("a")
    assert await started(back) == before

    back.share_anew()

    assert await assignment(back) == {TopicPartition(topic.name, number) for number in range(6)}


async def test_what_is_shown_to_lag_tools_moves_no_one(bus: Bus, topic: TopicSpec, member: Join) -> None:
    await numbers(bus, topic, 3)
    first = member("a")
    await started(first)
    await first.show_progress({TopicPartition(topic.name, 0): Mark(UUID(int=1), UUID(int=2), 1, 1, 2)})
    await first.stop()
    again = member("a")

    given = await started(again)
    assert not (await _records_of(again))
    again.resume_at(from_the_start(given))
    records, _ = await fetch(again, 3)

    assert [record.offset for record in records] == [0, 1, 2]


async def test_an_offset_outside_the_log_is_an_error_not_a_jump(topic: TopicSpec, member: Join) -> None:
    subscriber = member("a")
    await started(subscriber)
    subscriber.resume_at({TopicPartition(topic.name, 1): 77})

    with pytest.raises(OutOfRange) as raised:
        await fetch(subscriber, 1)

    assert (raised.value.source, raised.value.offset) == (TopicPartition(topic.name, 1), 77)


async def test_the_last_answer_says_where_the_log_ends(bus: Bus, topic: TopicSpec, member: Join) -> None:
    await numbers(bus, topic, 5)
    subscriber = member("a")
    subscriber.resume_at(from_the_start(await started(subscriber)))

    await fetch(subscriber, 5)

    assert subscriber.seen()[TopicPartition(topic.name, 0)].end == 5


async def _records_of(subscriber: Subscriber) -> list[object]:
    got = await subscriber.poll()
    assert isinstance(got, Fetched)
    return list(got.records)


async def test_a_member_that_asks_for_a_share_just_when_it_got_one_goes_on_reading(
    bus: Bus, topic: TopicSpec, member: Join
) -> None:
    await numbers(bus, topic, 3)
    subscriber = member("a")
    await started(subscriber)
    for _ in range(10):
        subscriber.share_anew()
        given = await assignment(subscriber)

    subscriber.resume_at(from_the_start(given))
    records, _ = await fetch(subscriber, 3)

    assert [record.offset for record in records] == [0, 1, 2]
