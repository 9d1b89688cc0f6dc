from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.metering.domain.bounds import BOUNDS
from services.metering.domain.events import UsageEvent
from services.metering.domain.identity import partition_of, shard_of
from services.metering.domain.records import MAX_RECORD_BYTES, VERSION, decode, encode
from services.metering.errors import BadShardRecord
from tests.support.metering import usage


def altered(**changes: Any) -> UsageEvent:
    return msgspec.structs.replace(usage(), **changes)


EVENTS = [usage(str(number), ingest_events=number, note="é") for number in range(500)]


def test_events_come_back_as_they_were() -> None:
    [(partition, value)] = encode(EVENTS[:1], 8)
    assert decode(value) == EVENTS[:1]
    assert partition == partition_of(shard_of(EVENTS[0].key), 8)


def test_one_request_gives_one_record_per_partition() -> None:
    records = encode(EVENTS, 8)
    assert [partition for partition, _ in records] == list(range(8))


def test_every_event_lies_in_the_partition_of_its_shard() -> None:
    placed = [(partition, event) for partition, value in encode(EVENTS, 8) for event in decode(value)]
    assert len(placed) == len(EVENTS)
    assert all(partition_of(shard_of(event.key), 8) == partition for partition, event in placed)


def test_a_record_stays_under_its_bound_however_large_the_request() -> None:
    large = [usage(str(number), note="x" * 8000) for number in range(300)]
    records = encode(large, 1)
    assert max(len(value) for _, value in records) <= MAX_RECORD_BYTES + 10_000
    assert [event for _, value in records for event in decode(value)] == large


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x02\x90",
        VERSION,
        VERSION + b"garbage",
        VERSION + msgspec.msgpack.encode({"not": "a list"}),
        VERSION + msgspec.msgpack.encode([["too short"]]),
        VERSION + b"\x91" * 100_000,
        VERSION + msgspec.msgpack.encode([altered(key=b"short")]),
        VERSION + msgspec.msgpack.encode([altered(id="x" * 1025)]),
        VERSION + msgspec.msgpack.encode([altered(attributes={"n" * 257: 1})]),
        VERSION + msgspec.msgpack.encode([altered(attributes={"n": "x" * 8193})]),
        VERSION + msgspec.msgpack.encode([altered(attributes={str(number): 1 for number in range(257)})]),
        VERSION + msgspec.msgpack.encode([altered()] * (BOUNDS.events + 1)),
    ],
)
def test_a_record_that_no_edge_wrote_is_refused_by_name(value: bytes | None) -> None:
    with pytest.raises(BadShardRecord):
        decode(value)
