"""The last (epoch, seq) taken from each producer, so that what a relay publishes twice has one effect.

Kept per partition. On a compacted topic it is kept per key: there compaction may take away the first of two copies, and
the second, whose sequence is smaller than that of other keys seen meanwhile, must not be lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from libs.bus.envelope import EPOCH, SEQ, SOURCE
from libs.bus.records import Record
from libs.store.pool import Tx

Place = tuple[int, int]  # (epoch, seq)

_STAMP: Final = frozenset({SOURCE, EPOCH, SEQ})
MAX_BIGINT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """What a sequence counts in: one producer, one partition, and on compacted topics one key (else empty)."""

    producer: str
    topic: str
    partition: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Stamp:
    """A record's place in its lane."""

    lane: Lane
    at: Place


def stamp_of(record: Record, *, compacted: bool) -> Stamp | None:
    """Return the stamp that a relay of ours put on `record`, None where it has none (or none that can be read)."""
    if len(record.headers) < len(_STAMP):  # most records that are not events of ours: they are looked at by the million
        return None
    found = {name: value for name, value in record.headers if name in _STAMP and value is not None}
    if len(found) != len(_STAMP):
        return None
    try:
        at = (_number(found[EPOCH]), _number(found[SEQ]))
        producer = found[SOURCE].decode("utf-8")
    except ValueError:
        return None
    key = (record.key or b"") if compacted else b""
    return None if "\x00" in producer else Stamp(Lane(producer, record.topic, record.partition, key), at)


def _number(text: bytes) -> int:
    number = int(text)
    if not 0 <= number <= MAX_BIGINT:
        raise ValueError("a place is a bigint, not negative")
    return number


async def last_taken(tx: Tx, consumer: str, lanes: Iterable[Lane]) -> dict[Lane, Place]:
    """Return what `consumer` last took in each of `lanes`; lanes that are new to it are left out."""
    order = sorted(set(lanes))
    if not order:
        return {}
    rows = await tx.fetch(_READ, consumer, *_columns(order))
    return {
        Lane(row["producer"], row["topic"], row["partition"], row["key"]): (row["epoch"], row["seq"]) for row in rows
    }


def fresh(
    records: Sequence[Record], stamps: Mapping[int, Stamp], taken: dict[Lane, Place]
) -> tuple[list[Record], dict[Lane, Place]]:
    """Return the records not taken before, and what was newly taken per lane. `stamps` is by index in `records`."""
    news: dict[Lane, Place] = {}
    passed: list[Record] = []
    for index, record in enumerate(records):
        stamp = stamps.get(index)
        if stamp is not None:
            last = news.get(stamp.lane) or taken.get(stamp.lane)
            if last is not None and stamp.at <= last:
                continue
            news[stamp.lane] = stamp.at
        passed.append(record)
    return passed, news


async def take_note(tx: Tx, consumer: str, news: Mapping[Lane, Place]) -> None:
    """Store what was newly taken, in key order."""
    if not news:
        return
    order = sorted(news)
    at = [news[lane] for lane in order]
    await tx.execute(_WRITE, consumer, *_columns(order), [one[0] for one in at], [one[1] for one in at])


def _columns(order: Sequence[Lane]) -> tuple[list[str], list[str], list[int], list[bytes]]:
    return (
        [lane.producer for lane in order],
        [lane.topic for lane in order],
        [lane.partition for lane in order],
        [lane.key for lane in order],
    )


_READ: Final = """
SELECT producer, topic, partition, key, epoch, seq FROM consumer_sequence
WHERE consumer = $1 AND (producer, topic, partition, key) IN (
  SELECT * FROM unnest($2::text[], $3::text[], $4::int[], $5::bytea[]))
"""
_WRITE: Final = """
INSERT INTO consumer_sequence AS mine (consumer, producer, topic, partition, key, epoch, seq)
SELECT $1, lane.* FROM unnest($2::text[], $3::text[], $4::int[], $5::bytea[], $6::bigint[], $7::bigint[]) AS lane
ON CONFLICT (consumer, producer, topic, partition, key) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
"""
