"""Finding the record of a letter again, byte for byte: on the dead letter topic, or where it lay."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Final

from libs.bus.deadletters.letter import CONSUMER, DIGEST, OFFSET, PARTITION, TOPIC, digest_of, original_of, own_headers
from libs.bus.deadletters.register import Entry
from libs.bus.lookup import record_at, records_of
from libs.bus.ports import Bus
from libs.bus.records import Record, TopicPartition
from libs.schemas import topics

Place = tuple[str, str, int, int]  # consumer, topic, partition, offset

GONE: Final = "the record is gone: its letter is older than the dead letter topic keeps it, or was deleted"
GONE_AT_SOURCE: Final = "the record is gone: it was too large to be copied, and its topic does not hold it any more"

UNREAD: Final = "the record cannot be read whole, so it cannot be published again; drop it, and have it sent anew"


async def originals(bus: Bus, entries: Collection[Entry]) -> AsyncGenerator[tuple[Entry, Record], None]:
    """Yield each letter whose record still exists, with that record; the digest has been checked.

    Every dead letter topic is read through once, whatever the number of letters. Raises Unavailable.
    """
    for topic in sorted({one.topic for one in entries if not one.by_reference}):
        wanted = {one.place: one for one in entries if one.topic == topic and not one.by_reference}
        async for dead in records_of(bus, topic + topics.DEAD_LETTER_SUFFIX):
            entry = _entry_of(dead, wanted)
            if entry is not None:
                del wanted[entry.place]  # a relay that died may have written the letter twice
                yield entry, original_of(dead, offset=entry.offset, partition=entry.partition)
    for entry in entries:
        if entry.by_reference and (record := await _at_its_place(bus, entry)) is not None:
            yield entry, record


def _entry_of(dead: Record, wanted: Mapping[Place, Entry]) -> Entry | None:
    own = own_headers(dead)
    if own is None or not (own[PARTITION].isdecimal() and own[OFFSET].isdecimal()):
        return None
    entry = wanted.get((own[CONSUMER], own[TOPIC], int(own[PARTITION]), int(own[OFFSET])))
    if entry is None or own[DIGEST] != entry.digest:
        return None
    record = original_of(dead, offset=entry.offset, partition=entry.partition)
    return entry if digest_of(record) == entry.digest else None


async def _at_its_place(bus: Bus, entry: Entry) -> Record | None:
    """Return the record where it lay, None where the topic is another one by now or holds other bytes there."""
    if (await bus.topic_ids([entry.topic])).get(entry.topic) != entry.topic_id:
        return None
    record = await record_at(bus, TopicPartition(entry.topic, entry.partition), entry.offset)
    return record if record is not None and digest_of(record) == entry.digest else None


async def newest_of_keys(bus: Bus, topic: str, keys: Collection[bytes | None]) -> dict[bytes | None, tuple[int, str]]:
    """Return offset and digest of the newest record that `topic` holds of each of `keys`."""
    return {one.key: (one.offset, digest_of(one)) async for one in records_of(bus, topic) if one.key in keys}
