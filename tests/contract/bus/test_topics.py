from __future__ import annotations

import pytest

from libs.bus.ports import Bus
from libs.bus.records import Message
from libs.runtime.errors import Unavailable
from libs.schemas.topics import TopicSpec
from tests.support.bus import Broker, fresh_name, spec


async def test_a_topic_has_the_partitions_that_its_file_says(bus: Bus) -> None:
    wanted = spec(fresh_name("seven"), partitions=7)

    await bus.ensure_topics([wanted])

    assert await bus.partitions(wanted.name) == 7


async def test_a_topic_comes_with_its_dead_letter_topic_of_one_partition(bus: Bus, topic: TopicSpec) -> None:
    assert await bus.partitions(topic.dead_letter_topic) == 1


async def test_making_sure_of_a_topic_again_leaves_it_as_it_is(bus: Bus, topic: TopicSpec) -> None:
    before = await bus.topic_ids([topic.name])

    await bus.ensure_topics([topic.model_copy(update={"partitions": 9})])

    assert await bus.topic_ids([topic.name]) == before
    assert await bus.partitions(topic.name) == topic.partitions


async def test_a_topic_made_again_has_another_id(broker: Broker, topic: TopicSpec) -> None:
    before = await broker.bus.topic_ids([topic.name])

    await broker.delete_topic(topic.name)
    await broker.bus.ensure_topics([topic])

    assert (await broker.bus.topic_ids([topic.name]))[topic.name] != before[topic.name]


async def test_a_topic_that_does_not_exist_has_no_id(bus: Bus, topic: TopicSpec) -> None:
    assert (await bus.topic_ids([topic.name, "no-such-topic"])).keys() == {topic.name}


async def test_a_topic_that_does_not_exist_is_unavailable_not_empty(bus: Bus) -> None:
    with pytest.raises(Unavailable, match="does not exist yet"):
        await bus.partitions("no-such-topic")


async def test_an_empty_topic_starts_and_ends_at_zero(bus: Bus, topic: TopicSpec) -> None:
    nothing = dict.fromkeys(range(topic.partitions), 0)

    assert await bus.start_offsets(topic.name) == nothing
    assert await bus.end_offsets(topic.name) == nothing


async def test_the_end_is_behind_the_last_record(bus: Bus, topic: TopicSpec) -> None:
    await bus.publisher.publish([Message(topic.name, b"k", b"v", partition=2)] * 3)

    assert (await bus.end_offsets(topic.name))[2] == 3
