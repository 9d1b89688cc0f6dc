"""What the directory makes of the records of tenant-changes, on the bus in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from libs.access.directory import Directory
from libs.access.feed import TOPIC, apply_record, fed
from libs.bus.envelope import event_message
from libs.bus.memory import MemoryBus
from libs.bus.records import Message, Record
from libs.runtime.errors import Unauthenticated, Unavailable
from libs.schemas.events import EventModel
from libs.schemas.topics import topic
from tests.support.access import ENV, NOW, api_key, bearer, directory_of, key_changed, tenant_changed, tenant_id
from tests.support.conditions import eventually

A = tenant_id(1)
KEY = api_key(1)


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus()
    await bus.start()
    await bus.ensure_topics([topic(TOPIC)])
    yield bus
    await bus.stop()


async def say(bus: MemoryBus, event: EventModel, key: str) -> None:
    await bus.publisher.publish([event_message(TOPIC, event, key=key, event_id=uuid.uuid4(), at=NOW)])


async def say_key(bus: MemoryBus, revoked: bool = False) -> None:
    event = key_changed(KEY, "operator", revoked_at=NOW if revoked else None)
    await say(bus, event, f"key/{KEY.key_id}")


def lets_in(directory: Directory) -> bool:
    try:
        return directory.authenticate(bearer(KEY), NOW).key_id == KEY.key_id
    except (Unauthenticated, Unavailable):
        return False


async def until(directory: Directory, wanted: bool) -> None:
    async def so() -> bool:
        return lets_in(directory) is wanted

    await eventually(so, f"the key is {'let in' if wanted else 'refused'}")


async def test_what_was_said_before_the_start_is_known_as_soon_as_the_directory_answers(bus: MemoryBus) -> None:
    await say_key(bus)
    directory = Directory(ENV)

    async with fed(directory, bus):
        await eventually(lambda: _answers(directory), "the directory answers")
        assert lets_in(directory)


async def test_what_is_said_later_is_taken_in(bus: MemoryBus) -> None:
    directory = Directory(ENV)

    async with fed(directory, bus):
        await say_key(bus)
        await until(directory, wanted=True)
        await say_key(bus, revoked=True)
        await until(directory, wanted=False)


async def test_a_directory_that_is_no_longer_fed_does_not_answer(bus: MemoryBus) -> None:
    await say_key(bus)
    directory = Directory(ENV)

    async with fed(directory, bus):
        await until(directory, wanted=True)

    with pytest.raises(Unavailable):
        directory.authenticate(bearer(KEY), NOW)


async def test_a_directory_waits_while_the_broker_is_away(bus: MemoryBus) -> None:
    await say_key(bus)
    bus.down = True
    directory = Directory(ENV)

    async with fed(directory, bus):
        assert not lets_in(directory)
        bus.down = False
        await until(directory, wanted=True)


def record(message: Message) -> Record:
    return Record(TOPIC, 0, 7, message.key, message.value, message.headers, 0)


def said(event: EventModel, key: str) -> Record:
    return record(event_message(TOPIC, event, key=key, event_id=uuid.uuid4(), at=NOW))


def broken(subject: str) -> Record:
    whole = said(key_changed(KEY, "operator"), subject)
    return Record(whole.topic, whole.partition, whole.offset, whole.key, b"{", whole.headers, 0)


def test_a_tombstone_forgets_a_key() -> None:
    directory = directory_of(key_changed(KEY, "operator"))

    apply_record(directory, record(Message(TOPIC, f"key/{KEY.key_id}".encode(), None)))

    assert not lets_in(directory)


def test_a_tombstone_forgets_a_tenant_and_with_it_its_keys() -> None:
    directory = directory_of(tenant_changed(A), key_changed(KEY, "tenant", tenant_id=A))

    apply_record(directory, record(Message(TOPIC, f"tenant/{A}".encode(), None)))

    assert not lets_in(directory)


def test_a_key_whose_last_record_cannot_be_read_is_refused_until_it_is_said_again() -> None:
    directory = directory_of(key_changed(KEY, "operator"))
    apply_record(directory, broken(f"key/{KEY.key_id}"))
    assert not lets_in(directory)

    apply_record(directory, said(key_changed(KEY, "operator"), f"key/{KEY.key_id}"))

    assert lets_in(directory)


@pytest.mark.parametrize("key", [None, b"", b"key", b"\xff\xfe", b"else/1"])
def test_a_tombstone_for_nothing_we_know_changes_nothing(key: bytes | None) -> None:
    directory = directory_of(key_changed(KEY, "operator"))

    apply_record(directory, record(Message(TOPIC, key, None)))

    assert lets_in(directory)


def test_an_event_that_is_not_about_tenants_or_keys_is_passed_over() -> None:
    directory = directory_of(key_changed(KEY, "operator"))

    apply_record(directory, of_tomorrow("plan/pro/1"))

    assert lets_in(directory)


def test_a_key_that_is_changed_by_a_type_of_tomorrow_is_refused_until_it_is_said_again() -> None:
    directory = directory_of(key_changed(KEY, "operator"))
    apply_record(directory, of_tomorrow(f"key/{KEY.key_id}"))
    assert not lets_in(directory)

    apply_record(directory, said(key_changed(KEY, "operator"), f"key/{KEY.key_id}"))

    assert lets_in(directory)


def test_the_keys_of_a_tenant_that_is_changed_by_a_type_of_tomorrow_are_refused() -> None:
    directory = directory_of(tenant_changed(A), key_changed(KEY, "tenant", tenant_id=A))

    apply_record(directory, of_tomorrow(f"tenant/{A}"))

    assert not lets_in(directory)


def of_tomorrow(subject: str) -> Record:
    whole = said(key_changed(KEY, "operator", revoked_at=NOW), subject)
    headers = dict(whole.headers) | {"ce_type": b"maestro.key.changed.v2"}
    return Record(whole.topic, whole.partition, whole.offset, whole.key, whole.value, tuple(headers.items()), 0)


async def _answers(directory: Directory) -> bool:
    try:
        directory.require_ready()
    except Unavailable:
        return False
    return True
