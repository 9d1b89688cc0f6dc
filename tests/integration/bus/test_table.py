from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from libs.bus.memory import MemoryBus
from libs.bus.ports import Bus
from libs.bus.records import Message, Record
from libs.bus.table import CompactedTable
from libs.runtime.errors import Broken, Rejected
from libs.schemas.topics import topic
from tests.support.bus import Broker, fresh_name
from tests.support.conditions import eventually
from tests.support.consuming import at_work, dies

TOPIC = "plan-changes"


@dataclass
class Memory:
    """What a service keeps of a topic: the last value by key, of keys that carry this test's word."""

    word: str = field(default_factory=lambda: fresh_name("table"))
    values: dict[str, bytes] = field(default_factory=dict)
    applied: list[bytes | None] = field(default_factory=list)

    def message(self, key: str, value: bytes | None, *headers: tuple[str, bytes]) -> Message:
        return Message(TOPIC, f"{self.word}/{key}".encode(), value, headers)

    def stamped(self, key: str, value: bytes, seq: int) -> Message:
        stamp = (("ce_source", self.word.encode()), ("ce_maestroepoch", b"1"), ("ce_maestroseq", b"%d" % seq))
        return self.message(key, value, *stamp)

    def apply(self, record: Record) -> None:
        word, _, key = (record.key or b"").decode().partition("/")
        if word != self.word:
            return  # another test's, on the same topic of the real broker
        if record.value == b"bad":
            raise Rejected("bad")
        self.applied.append(record.value)
        self.values.pop(key, None)
        if record.value is not None:
            self.values[key] = record.value

    async def become(self, expected: dict[str, bytes]) -> None:
        async def same() -> bool:
            return self.values == expected

        await eventually(same, f"the table is {expected}, not {self.values}")


async def test_a_table_is_ready_once_it_holds_all_that_was_there(bus: Bus) -> None:
    memory = Memory()
    await bus.publisher.publish([memory.message(f"k{number}", b"v") for number in range(100)])
    table = CompactedTable(bus, TOPIC, memory.apply)

    async with at_work(table.run()):
        await table.ready.wait()

    assert len(memory.values) == 100


async def test_a_table_of_an_empty_topic_is_ready_too(memory: MemoryBus) -> None:
    table = CompactedTable(memory, TOPIC, Memory().apply)

    async with at_work(table.run()):
        await table.ready.wait()

    assert table.ready.is_set()


async def test_a_table_follows_changes_and_removals(bus: Bus) -> None:
    memory = Memory()
    table = CompactedTable(bus, TOPIC, memory.apply)
    async with at_work(table.run()):
        await bus.publisher.publish([memory.message("a", b"1"), memory.message("b", b"1")])
        await memory.become({"a": b"1", "b": b"1"})

        await bus.publisher.publish([memory.message("a", b"2"), memory.message("b", None)])

        await memory.become({"a": b"2"})


async def test_a_record_that_cannot_be_understood_leaves_the_last_good_one(bus: Bus) -> None:
    memory = Memory()
    table = CompactedTable(bus, TOPIC, memory.apply)
    async with at_work(table.run()):
        await bus.publisher.publish([memory.message("a", b"1"), memory.message("a", b"bad"), memory.message("z", b"1")])

        await memory.become({"a": b"1", "z": b"1"})


async def test_what_a_relay_repeats_late_does_not_bring_the_past_back(bus: Bus) -> None:
    memory = Memory()
    table = CompactedTable(bus, TOPIC, memory.apply)
    async with at_work(table.run()):
        await bus.publisher.publish([memory.stamped("a", b"old", 6), memory.stamped("a", b"new", 7)])
        await bus.publisher.publish([memory.stamped("a", b"old", 6), memory.message("z", b"1")])

        await memory.become({"a": b"new", "z": b"1"})

    assert memory.applied.count(b"old") == 1


async def test_a_repeated_record_counts_where_compaction_took_the_first(memory: MemoryBus) -> None:
    mine = Memory()
    await memory.publisher.publish(
        [mine.stamped("a", b"a6", 6), mine.stamped("b", b"b7", 7), mine.stamped("a", b"a6", 6)]
    )
    memory.compact(TOPIC)  # leaves b7, then a6: a smaller sequence behind a greater one
    table = CompactedTable(memory, TOPIC, mine.apply)

    async with at_work(table.run()):
        await table.ready.wait()

    assert mine.values == {"a": b"a6", "b": b"b7"}


async def test_a_table_goes_on_where_it_was_after_an_outage(memory: MemoryBus) -> None:
    mine = Memory()
    await memory.publisher.publish([mine.message("a", b"1")])
    table = CompactedTable(memory, TOPIC, mine.apply)
    async with at_work(table.run()):
        await table.ready.wait()
        memory.down = True
        await eventually(_is_late(table), "the table notices")
        memory.down = False
        await memory.publisher.publish([mine.message("b", b"1")])

        await mine.become({"a": b"1", "b": b"1"})

    assert mine.applied == [b"1", b"1"]


def _is_late(table: CompactedTable):  # type: ignore[no-untyped-def]  # noqa: ANN202
    before = table.current_at()

    async def still() -> bool:
        return table.current_at() == before

    return still


async def test_a_table_says_how_late_it_is(bus: Bus) -> None:
    memory = Memory()
    table = CompactedTable(bus, TOPIC, memory.apply)
    assert (table.lag(), table.current_at()) == (None, None)
    async with at_work(table.run()):
        await bus.publisher.publish([memory.message("a", b"1")])
        await memory.become({"a": b"1"})

        async def is_current() -> bool:
            return table.lag() == 0 and table.current_at() is not None

        await eventually(is_current, "the table is current")


async def test_a_table_reads_partitions_that_are_added_later(memory: MemoryBus) -> None:
    mine = Memory()
    table = CompactedTable(memory, TOPIC, mine.apply)
    async with at_work(table.run()):
        await table.ready.wait()
        memory.add_partitions(TOPIC, 9)

        await memory.publisher.publish(
            [Message(TOPIC, f"{mine.word}/{number}".encode(), b"1", partition=number) for number in range(9)]
        )

        await mine.become({str(number): b"1" for number in range(9)})


async def test_a_topic_made_again_ends_the_table(broker: Broker) -> None:
    memory = Memory()
    table = CompactedTable(broker.bus, TOPIC, memory.apply)
    async with at_work(table.run()) as (running,):
        await table.ready.wait()
        await broker.delete_topic(TOPIC)
        await broker.bus.ensure_topics([topic(TOPIC)])

        assert "start the process anew" in await dies(running, Broken)


@pytest.mark.parametrize("place", [b"x", b"-1", b"99999999999999999999"])
async def test_a_stamp_that_is_no_number_is_no_stamp(place: bytes, memory: MemoryBus) -> None:
    mine = Memory()
    headers = (("ce_source", b"x"), ("ce_maestroepoch", b"1"), ("ce_maestroseq", place))
    table = CompactedTable(memory, TOPIC, mine.apply)
    async with at_work(table.run()):
        await memory.publisher.publish([mine.message("a", b"1", *headers), mine.message("a", b"2", *headers)])

        await mine.become({"a": b"2"})
