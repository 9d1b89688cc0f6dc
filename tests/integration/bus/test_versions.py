"""A consumer of today meets events of tomorrow: newer minor versions, and types that it does not know."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes
from typing import Any

import pytest

from libs.access.directory import Directory
from libs.access.feed import fed
from libs.access.keys import ApiKey, new_key
from libs.bus.consumer import EventConsumer
from libs.bus.envelope import Received, event_message
from libs.bus.memory import MemoryBus
from libs.bus.ports import Bus
from libs.bus.records import Message
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription
from libs.runtime.errors import Rejected, Unauthenticated, Unavailable
from libs.runtime.metrics import start_metrics
from libs.schemas.events import MODEL_OF_TYPE, EventModel, KeyChanged
from libs.schemas.topics import registry
from libs.store.pool import Pool, Tx
from tests.support.access import ENV, NOW, bearer, key_changed
from tests.support.bus import fresh_name
from tests.support.conditions import eventually
from tests.support.consuming import at_work, dead_letters, effects_are, relay_of
from tests.support.exposed import exposed
from tests.support.golden import FILES, name_of, read, record_of

KEYS = "tenant-changes"
TOPIC_OF = {event_type: spec.name for spec in registry().values() for event_type in spec.types}
NEXT = "maestro.tenant.changed.v2"
LATER: dict[str, Any] = {"added_later": {"colours": ["red"], "by": None}}


@dataclass
class Reader:
    """Reads one topic by all of its types: an effect per event under this test's key, named by `id`."""

    topic: str
    refuse: tuple[str, ...] = ()
    key: str = field(default_factory=lambda: fresh_name("key"))
    purpose: str = field(default_factory=lambda: fresh_name("versions"))
    seen: list[Received[EventModel]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"quota.{self.purpose}"

    def consumer(self, bus: Bus, pool: Pool) -> EventConsumer:
        routes = Routes()
        for event_type in registry()[self.topic].types:
            routes.on(MODEL_OF_TYPE[event_type], self.on_event)
        return EventConsumer(bus, pool, Subscription("quota", self.purpose, (self.topic,), "0"), routes)

    async def on_event(self, tx: Tx, received: Received[EventModel]) -> None:
        if received.record.key != self.key.encode():
            return  # another test's, on the same topic of the real broker
        self.seen.append(received)
        if received.meta.id in self.refuse:
            raise Rejected(f"{received.meta.id} is refused")
        await tx.execute("INSERT INTO effect (id) VALUES ($1)", received.meta.id)

    def message(self, path: Path, event_id: str, *, event_type: str | None = None, **later: object) -> Message:
        """Return the golden example under this test's key, with `later` added to its data."""
        event = read(path) | {"id": event_id}
        event["type"] = event_type or event["type"]
        record = record_of(event, self.topic, **later)
        return Message(self.topic, self.key.encode(), record.value, record.headers)


def example(event_type: str) -> Path:
    return next(path for path in FILES if path.parent.name == event_type)


@pytest.mark.parametrize("topic", sorted(set(TOPIC_OF.values())))
async def test_a_newer_minor_version_of_every_event_is_handled_as_the_version_that_is_known(
    topic: str, memory: MemoryBus, pool: Pool
) -> None:
    reader = Reader(topic)
    paths = [path for path in FILES if TOPIC_OF[path.parent.name] == topic]
    await memory.publisher.publish([reader.message(path, name_of(path), **LATER) for path in paths])

    async with at_work(reader.consumer(memory, pool).run()):
        await effects_are(pool, *map(name_of, paths))

    known = [json.loads(received.data.model_dump_json(exclude_unset=True)) for received in reader.seen]
    assert known == [read(path)["data"] for path in paths]


async def test_what_a_newer_minor_version_adds_stays_in_the_record_that_a_handler_gets(
    memory: MemoryBus, pool: Pool
) -> None:
    reader = Reader("tenant-changes")
    await memory.publisher.publish([reader.message(example("maestro.tenant.changed.v1"), "newer", **LATER)])

    async with at_work(reader.consumer(memory, pool).run()):
        await effects_are(pool, "newer")

    assert json.loads(reader.seen[0].record.value or b"")["added_later"] == LATER["added_later"]


async def test_a_newer_minor_version_that_is_set_aside_keeps_what_it_adds(bus: Bus, pool: Pool) -> None:
    reader = Reader("tenant-changes", refuse=("newer",))
    message = reader.message(example("maestro.tenant.changed.v1"), "newer", **LATER)
    await bus.publisher.publish([message])

    async with at_work(relay_of(pool, bus).run(), reader.consumer(bus, pool).run()):
        (letter,) = await dead_letters(bus, reader.topic, reader.name, 1, key=reader.key)

    assert letter["value"] == message.value


async def test_an_unknown_type_is_set_aside_whole_and_holds_up_nothing(bus: Bus, pool: Pool) -> None:
    reader = Reader("tenant-changes")
    path = example("maestro.tenant.changed.v1")
    unknown = reader.message(path, "next", event_type=NEXT, **LATER)
    await bus.publisher.publish(
        [reader.message(path, "before"), unknown, reader.message(path, "newer", **LATER), reader.message(path, "after")]
    )

    async with at_work(relay_of(pool, bus).run(), reader.consumer(bus, pool).run()):
        await effects_are(pool, "before", "newer", "after")
        (letter,) = await dead_letters(bus, reader.topic, reader.name, 1, key=reader.key)

    assert letter["maestro_reason"] == b"bad_event"
    assert NEXT.encode() in letter["maestro_cause"]
    assert (letter["value"], letter["ce_type"], letter["ce_id"]) == (unknown.value, NEXT.encode(), b"next")


async def test_a_revocation_by_a_type_of_tomorrow_ends_the_key_and_is_told_once(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    directory, key, tomorrows = Directory(ENV), new_key(ENV, token_bytes), fresh_name("maestro.key.changed.v2")
    other = new_key(ENV, token_bytes)
    counted = unknown_count()

    async with fed(directory, bus):
        await bus.publisher.publish([change_of(key), change_of(other)])
        await eventually(lambda: admits(directory, key, other), "both keys are let in")
        revocations = [change_of(one, named=tomorrows, revoked_at=NOW) for one in (key, key)]
        await bus.publisher.publish([*revocations, change_of(other, expires_at=NOW)])
        await eventually(lambda: refuses(directory, key, other), "both keys are refused")

    assert [one.levelname for one in caplog.records if tomorrows in one.getMessage()] == ["ERROR"]
    assert unknown_count() >= counted + 2


def change_of(key: ApiKey, *, named: str = KeyChanged.TYPE, **changes: Any) -> Message:
    said = event_message(
        KEYS, key_changed(key, "operator", **changes), key=f"key/{key.key_id}", event_id=uuid.uuid4(), at=NOW
    )
    headers = dict(said.headers) | {"ce_type": named.encode()}
    return Message(KEYS, said.key, said.value, tuple(headers.items()))


def is_let_in(directory: Directory, key: ApiKey) -> bool:
    try:
        return directory.authenticate(bearer(key), NOW).key_id == key.key_id
    except (Unauthenticated, Unavailable):
        return False


async def admits(directory: Directory, *keys: ApiKey) -> bool:
    return all(is_let_in(directory, key) for key in keys)


async def refuses(directory: Directory, *keys: ApiKey) -> bool:
    return not any(is_let_in(directory, key) for key in keys)


def unknown_count() -> float:
    start_metrics("test")
    return sum(exposed("maestro_bus_table_unknown_total", topic=KEYS))
