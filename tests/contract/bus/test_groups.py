"""What the broker keeps of groups: for consumers without a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from libs.bus.ports import Bus, Committed, GroupInUse, Subscriber
from libs.bus.records import TopicPartition
from libs.runtime.errors import Unavailable
from libs.schemas.topics import TopicSpec
from tests.support.bus import Broker, assignment, fresh_name


@pytest.fixture
def group() -> str:
    return fresh_name("group")


@pytest.fixture
async def member(bus: Bus, topic: TopicSpec, group: str) -> AsyncIterator[Subscriber]:
    """A started member that was given all partitions."""
    async with AsyncExitStack() as stack:
        made = bus.subscriber([topic.name], group=group, instance="a", max_records=500)
        stack.push_async_callback(made.stop)
        await made.start()
        await assignment(made)
        yield made


async def test_a_group_that_never_committed_has_come_nowhere(bus: Bus, topic: TopicSpec, group: str) -> None:
    assert await bus.committed(group, topic.name) == {}


async def test_what_a_member_commits_is_what_others_are_told(
    bus: Bus, topic: TopicSpec, group: str, member: Subscriber
) -> None:
    topic_id = (await bus.topic_ids([topic.name]))[topic.name]
    marks = {1: Committed(7, topic_id, 1_764_000_000_123), 2: Committed(3, topic_id), 3: Committed(1)}

    await member.commit({TopicPartition(topic.name, number): mark for number, mark in marks.items()})

    assert await bus.committed(group, topic.name) == marks


async def test_what_is_committed_outlives_the_member(
    bus: Bus, topic: TopicSpec, group: str, member: Subscriber
) -> None:
    await member.commit({TopicPartition(topic.name, 0): Committed(5)})
    await member.stop()

    assert await bus.committed(group, topic.name) == {0: Committed(5)}


async def test_a_member_cannot_commit_what_it_was_not_given(
    bus: Bus, topic: TopicSpec, group: str, member: Subscriber
) -> None:
    with pytest.raises(Unavailable):
        await member.commit({TopicPartition(topic.name, 9): Committed(5)})

    assert await bus.committed(group, topic.name) == {}


async def test_an_operator_sets_a_group_that_has_no_members(bus: Bus, topic: TopicSpec, group: str) -> None:
    await bus.commit_for(group, topic.name, {0: Committed(4), 2: Committed(8)})

    assert await bus.committed(group, topic.name) == {0: Committed(4), 2: Committed(8)}


@pytest.mark.usefixtures("member")
async def test_an_operator_is_refused_while_members_run(bus: Bus, topic: TopicSpec, group: str) -> None:
    with pytest.raises(GroupInUse, match=group):
        await bus.commit_for(group, topic.name, {0: Committed(4)})


async def test_a_topic_made_again_is_one_of_which_nothing_was_committed(
    broker: Broker, topic: TopicSpec, group: str
) -> None:
    await broker.bus.commit_for(group, topic.name, {0: Committed(4)})

    await broker.delete_topic(topic.name)
    await broker.bus.ensure_topics([topic])

    assert await broker.bus.committed(group, topic.name) == {}
