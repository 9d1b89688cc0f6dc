"""Voices: publishers under a name, of which the newest counts."""

from __future__ import annotations

import pytest

from libs.bus.ports import Bus, Voice
from libs.bus.records import Message
from libs.runtime.errors import Unavailable
from libs.schemas.topics import TopicSpec
from tests.support.bus import fresh_name


@pytest.fixture
def name() -> str:
    return fresh_name("voice")


async def say(voice: Voice, topic: TopicSpec, *texts: bytes, partition: int = 0) -> None:
    await voice.publish([Message(topic.name, b"k", text, partition=partition) for text in texts])


async def heard(bus: Bus, topic: TopicSpec) -> list[bytes | None]:
    reader = bus.reader(topic.name)
    ends = await reader.start()
    found: list[bytes | None] = []
    while len(found) < sum(ends.values()):
        found += [record.value for record in (await reader.poll()).records]
    await reader.stop()
    return found


async def test_an_older_voice_is_refused_where_a_newer_one_has_spoken(bus: Bus, topic: TopicSpec, name: str) -> None:
    older, newer = bus.voice(name), bus.voice(name)
    await say(older, topic, b"one")
    await say(newer, topic, b"two")

    with pytest.raises(Unavailable, match="a newer process speaks in our place"):
        await say(older, topic, b"too late")

    assert await heard(bus, topic) == [b"one", b"two"]


async def test_what_an_older_voice_says_before_the_newer_speaks_there_lies_before_it(
    bus: Bus, topic: TopicSpec, name: str
) -> None:
    older, newer = bus.voice(name), bus.voice(name)
    await say(older, topic, b"one")
    await say(newer, topic, b"elsewhere", partition=1)
    await say(older, topic, b"two")

    await say(newer, topic, b"three")

    assert [text for text in await heard(bus, topic) if text != b"elsewhere"] == [b"one", b"two", b"three"]


async def test_a_voice_that_is_renewed_is_the_newest(bus: Bus, topic: TopicSpec, name: str) -> None:
    first, second = bus.voice(name), bus.voice(name)
    await say(first, topic, b"one")
    await say(second, topic, b"two")

    await first.renew()
    await say(first, topic, b"three")

    with pytest.raises(Unavailable):
        await say(second, topic, b"too late")
    assert await heard(bus, topic) == [b"one", b"two", b"three"]


async def test_voices_of_other_names_and_the_publisher_are_not_concerned(bus: Bus, topic: TopicSpec, name: str) -> None:
    voice = bus.voice(name)
    await say(bus.voice(fresh_name("another")), topic, b"one")
    await bus.publisher.publish([Message(topic.name, b"k", b"two", partition=0)])

    await say(voice, topic, b"three")

    assert await heard(bus, topic) == [b"one", b"two", b"three"]
