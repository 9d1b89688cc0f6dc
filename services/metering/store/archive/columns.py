"""Events as columns. Numbers stay exact: attributes as JSON text of what was counted, amounts as decimal128(30, 12)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec
import pyarrow as pa

from libs.bus.records import Record
from libs.bus.subscription import require_read
from libs.runtime.errors import Rejected
from libs.schemas.values import EXACT
from services.metering.domain.archiving import bucket_of, day_number
from services.metering.domain.events import UsageEvent
from services.metering.domain.meters import AMOUNT_SCALE, Counted, Meters, Sampled
from services.metering.domain.records import decode

AMOUNT: Final = pa.decimal128(30, AMOUNT_SCALE)  # the 18 digits that an amount may have before the point, 12 after it
AMOUNTS: Final = pa.map_(pa.string(), AMOUNT)
PLACED: Final = ("day", "tenant_hash")  # in the names of folders, not in files
SCHEMA: Final = pa.schema(
    [
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("time_us", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("time_stamped", pa.bool_(), nullable=False),
        pa.field("key", pa.binary(), nullable=False),
        pa.field("digest", pa.int64(), nullable=False),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("amounts", AMOUNTS, nullable=False),
        pa.field("appended_at_ms", pa.int64(), nullable=False),
        pa.field("topic_id", pa.string(), nullable=False),
        pa.field("kafka_partition", pa.int32(), nullable=False),
        pa.field("kafka_offset", pa.int64(), nullable=False),
        pa.field("kafka_index", pa.int32(), nullable=False),
        pa.field("day", pa.int32(), nullable=False),
        pa.field("tenant_hash", pa.int8(), nullable=False),
    ]
)

_JSON: Final = msgspec.json.Encoder()
_UNIT: Final = 10**AMOUNT_SCALE
_AMOUNT_BYTES: Final = 16


def batch_of(records: Sequence[Record], topic_ids: Mapping[int, UUID], meters: Meters) -> tuple[pa.RecordBatch, int]:
    """Return all events of these records of one topic, and how many records hold none because they cannot be read.

    `topic_ids` says the topic's id by partition. Unreadable records are what shard owners set aside.
    """
    events: list[UsageEvent] = []
    places: list[tuple[Record, int]] = []
    unreadable = 0
    for record in records:
        try:
            require_read(record)
            found = decode(record.value)
        except Rejected:
            unreadable += 1
            continue
        events += found
        places += [(record, index) for index in range(len(found))]
    names = {partition: str(topic_id) for partition, topic_id in topic_ids.items()}
    return pa.RecordBatch.from_arrays(
        [*_said(events, meters), *_placed(events, places, names)], schema=SCHEMA
    ), unreadable


def table_of(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Return the batches as one table."""
    return pa.Table.from_batches(batches, schema=SCHEMA)


def release_unused() -> None:
    """Give back to the system what Arrow keeps for its next arrays: the next lot may be long in coming."""
    pa.default_memory_pool().release_unused()


def _said(events: Sequence[UsageEvent], meters: Meters) -> list[pa.Array]:
    encode = _JSON.encode
    return [
        pa.array([event.tenant_id for event in events], pa.string()),
        pa.array([event.time_us for event in events], pa.int64()),
        pa.array([event.source for event in events], pa.string()),
        pa.array([event.id for event in events], pa.string()),
        pa.array([event.type for event in events], pa.string()),
        pa.array([int(event.kind) for event in events], pa.int8()),
        pa.array([event.time_stamped for event in events], pa.bool_()),
        pa.array([event.key for event in events], pa.binary()),
        pa.array([event.digest for event in events], pa.int64()),
        pa.array([encode(event.attributes) for event in events], pa.binary()).cast(pa.string()),
        _amounts(events, meters),
    ]


def _placed(
    events: Sequence[UsageEvent], places: Sequence[tuple[Record, int]], topic_ids: Mapping[int, str]
) -> list[pa.Array]:
    return [
        pa.array([record.appended_at_ms for record, _ in places], pa.int64()),
        pa.array([topic_ids[record.partition] for record, _ in places], pa.string()),
        pa.array([record.partition for record, _ in places], pa.int32()),
        pa.array([record.offset for record, _ in places], pa.int64()),
        pa.array([index for _, index in places], pa.int32()),
        pa.array([day_number(event.time_us) for event in events], pa.int32()),
        pa.array([bucket_of(event.tenant_id) for event in events], pa.int8()),
    ]


def _amounts(events: Iterable[UsageEvent], meters: Meters) -> pa.Array:
    """Return by metric what each event counts as, or the level that it says: as the meters in force take it now."""
    offsets, metrics, amounts = [0], [], []
    for event in events:
        for outcome in meters.outcomes(event):
            if isinstance(outcome, Counted):
                metrics.append(outcome.metric)
                amounts.append(_unscaled(outcome.amount))
            elif isinstance(outcome, Sampled):
                metrics.append(outcome.metric)
                amounts.append(_unscaled(outcome.level))
        offsets.append(len(metrics))
    values = pa.Array.from_buffers(AMOUNT, len(amounts), [None, pa.py_buffer(b"".join(amounts))])
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(metrics, pa.string()), values, type=AMOUNTS)


def _unscaled(amount: int | Decimal) -> bytes:
    # Made from Decimals one by one, an array costs five times as much.
    whole = amount * _UNIT if isinstance(amount, int) else int(EXACT.multiply(amount, _UNIT))
    return whole.to_bytes(_AMOUNT_BYTES, "little", signed=True)
