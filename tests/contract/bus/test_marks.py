"""Marks: what a store tells the broker about how far it is."""

from __future__ import annotations

from uuid import UUID

import pytest

from libs.bus.marks import Mark
from libs.bus.ports import Bus
from libs.bus.records import TopicPartition
from libs.schemas.topics import TopicSpec
from tests.support.bus import assignment, fresh_name
from tests.support.conditions import eventually


@pytest.fixture
def places(topic: TopicSpec) -> tuple[TopicPartition, TopicPartition]:
    return TopicPartition(topic.name, 0), TopicPartition(topic.name, 1)


def mark(at: int) -> Mark:
    return Mark(UUID(int=1), UUID(int=2), 3, 4, at)


async def test_a_group_that_never_told_anything_has_no_marks(bus: Bus) -> None:
    assert await bus.marks(fresh_name("group")) == {}


async def test_marks_stay_until_newer_ones_come(bus: Bus, places: tuple[TopicPartition, TopicPartition]) -> None:
    group = fresh_name("group")
    await bus.mark(group, {places[0]: mark(5), places[1]: mark(6)})

    await bus.mark(group, {places[0]: mark(7)})

    assert await bus.marks(group) == {places[0]: mark(7), places[1]: mark(6)}


async def test_what_a_member_shows_becomes_its_groups_marks(bus: Bus, topic: TopicSpec) -> None:
    group = fresh_name("group")
    member = bus.subscriber([topic.name], group=group, instance="a", max_records=10)
    await member.start()
    shown = {source: mark(8) for source in await assignment(member)}
    await member.show_progress(shown)

    async def is_told() -> bool:
        return await bus.marks(group) == shown

    await eventually(is_told, "the marks are told")
    await member.stop()
