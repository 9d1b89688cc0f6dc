"""What a person decides about dead letters: replay them once the fault is mended, or give them up.

A replay publishes the record byte for byte, to the partition that it came from. An event of ours is taken by the
consumer that set it aside, once; all others have passed its place and drop it. What is no event of ours is seen again
by all consumers of the topic: they know copies by their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from libs.bus.deadletters import register
from libs.bus.deadletters.finding import GONE, GONE_AT_SOURCE, UNREAD, newest_of_keys, originals
from libs.bus.deadletters.letter import size_of
from libs.bus.deadletters.register import Entry, Sought, Taken
from libs.bus.ports import Bus
from libs.bus.records import Message, Record
from libs.runtime.acts import Act
from libs.runtime.crashpoints import crash_point
from libs.schemas import topics
from libs.store.pool import Pool, transaction

Outcome = Literal["replayed", "would be replayed", "dropped", "left alone"]
Found = tuple[Entry, Record]

CHUNK_RECORDS: Final = 100  # published and marked together
CHUNK_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one letter, and why it was left alone if it was."""

    entry: Entry
    outcome: Outcome
    why: str = ""


class Desk:
    """Where a person decides over the dead letters that one service's consumers set aside."""

    def __init__(self, pool: Pool, bus: Bus) -> None:
        """Work on the register in `pool` and on the topics of `bus`, which must be allowed to write them."""
        self._pool = pool
        self._bus = bus

    async def find(self, sought: Sought) -> list[Entry]:
        """Return the letters that are meant, oldest first."""
        async with transaction(self._pool) as tx:
            return await register.find(tx, sought)

    async def look(self, entry: Entry) -> tuple[Record | None, list[Taken]]:
        """Return the record of the letter, None where it is gone, and what was done with it."""
        async with transaction(self._pool) as tx:
            steps = await register.steps_of(tx, entry)
        async for _, record in originals(self._bus, [entry]):
            return record, steps
        return None, steps

    async def drop(self, entries: Sequence[Entry], act: Act) -> list[Verdict]:
        """Give the letters up. The record stays on the dead letter topic until its retention is over."""
        verdicts: list[Verdict] = []
        for entry in entries:
            async with transaction(self._pool) as tx:
                is_done = await register.drop(tx, entry, act)
            verdicts.append(
                Verdict(entry, "dropped") if is_done else Verdict(entry, "left alone", f"it is {entry.state}")
            )
        return verdicts

    async def replay(
        self, entries: Sequence[Entry], act: Act, *, again: bool = False, dry_run: bool = False
    ) -> list[Verdict]:
        """Publish the letters' records where they came from, each at most once unless `again`; raise Unavailable.

        Safe to repeat, also after it was cut off: what was published and not yet marked is published again, and its
        consumer takes one copy.
        """
        verdicts = {entry.id: verdict for entry in entries if (verdict := _settled(entry, again=again)) is not None}
        open_entries = [entry for entry in entries if entry.id not in verdicts]
        chunk: list[Found] = []
        async for found in originals(self._bus, open_entries):
            chunk.append(found)
            if len(chunk) >= CHUNK_RECORDS or sum(size_of(record) for _, record in chunk) >= CHUNK_BYTES:
                verdicts |= await self._chunk(chunk, act, dry_run=dry_run)
                chunk = []
        verdicts |= await self._chunk(chunk, act, dry_run=dry_run)
        gone = {entry.id: _gone(entry) for entry in open_entries if entry.id not in verdicts}
        return [(verdicts | gone)[entry.id] for entry in entries]

    async def _chunk(self, chunk: Sequence[Found], act: Act, *, dry_run: bool) -> dict[int, Verdict]:
        verdicts = await self._superseded(chunk)
        unread = [entry for entry, record in chunk if record.unread is not None]
        verdicts |= {entry.id: Verdict(entry, "left alone", UNREAD) for entry in unread}
        due = [(entry, record) for entry, record in chunk if entry.id not in verdicts]
        if dry_run:
            return verdicts | {entry.id: Verdict(entry, "would be replayed") for entry, _ in due}
        return verdicts | await self._publish(due, act)

    async def _publish(self, due: Sequence[Found], act: Act) -> dict[int, Verdict]:
        begun: list[Found] = []
        async with transaction(self._pool) as tx:
            for entry, record in due:
                if await register.begin(tx, entry, act):
                    begun.append((entry, record))
        await self._bus.publisher.publish([_copy(record) for _, record in begun])
        crash_point("dlq.published")
        async with transaction(self._pool) as tx:
            await register.finish(tx, [entry.id for entry, _ in begun])
        taken = {entry.id: Verdict(entry, "left alone", "its consumer took a copy meanwhile") for entry, _ in due}
        return taken | {entry.id: Verdict(entry, "replayed") for entry, _ in begun}

    async def _superseded(self, chunk: Sequence[Found]) -> dict[int, Verdict]:
        """Leave alone what would bring an old state back: on a compacted topic a key's last record is its state."""
        verdicts: dict[int, Verdict] = {}
        for name in {entry.topic for entry, _ in chunk if topics.topic(entry.topic).cleanup == "compact"}:
            mine = [(entry, record) for entry, record in chunk if entry.topic == name]
            newest = await newest_of_keys(self._bus, name, {record.key for _, record in mine})
            for entry, record in mine:
                offset, digest = newest.get(record.key, (-1, entry.digest))
                if offset > entry.offset and digest != entry.digest:
                    why = (
                        f"a newer record of its key lies at offset {offset}: replaying this one would undo it; drop it"
                    )
                    verdicts[entry.id] = Verdict(entry, "left alone", why)
        return verdicts


def _settled(entry: Entry, *, again: bool) -> Verdict | None:
    """Return why the letter is not to be replayed, None where it is."""
    if entry.state == "dropped":
        return Verdict(entry, "left alone", "it was dropped")
    if entry.taken_at is not None:
        return Verdict(entry, "left alone", f"it was replayed, and taken by its consumer at {entry.taken_at:%FT%TZ}")
    if entry.state == "replayed" and not again:
        return Verdict(entry, "left alone", "it was replayed before; --again publishes it once more")
    return None


def _gone(entry: Entry) -> Verdict:
    return Verdict(entry, "left alone", GONE_AT_SOURCE if entry.by_reference else GONE)


def _copy(record: Record) -> Message:
    return Message(record.topic, record.key, record.value, record.headers, record.partition)
