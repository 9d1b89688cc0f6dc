"""Where an event lies in the archive, and that nothing of it is lost on the way into columns."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.bus.records import Record
from services.metering.domain.archiving import (
    BUCKETS,
    MAX_STEM_CHARS,
    ArchiveFile,
    OffsetRange,
    bucket_of,
    day_number,
    day_of,
    stems_of,
)
from services.metering.domain.events import UsageEvent
from services.metering.domain.records import encode
from services.metering.store.archive.columns import SCHEMA, batch_of
from tests.support.metering import ALICE, NOON_US, default_meters, usage

TOPIC = UUID("1a2b3c4d-0000-4000-8000-000000000000")
OTHER = UUID("ffffffff-0000-4000-8000-000000000000")


def covering(partition: int, start: int = 0, end: int = 9, topic_id: UUID = TOPIC) -> OffsetRange:
    return OffsetRange(topic_id, partition, start, end, 0)


def record(*events: UsageEvent, offset: int = 7, value: bytes | None = None) -> Record:
    [(_, written)] = encode(events, 1) if events else [(0, b"")]
    return Record("usage-shards", 0, offset, b"0", value or written, (), 1_764_000_000_123)


def columns(*records: Record) -> tuple[pa.RecordBatch, int]:
    return batch_of(records, {0: TOPIC}, default_meters())


def test_a_file_is_named_by_the_offsets_that_it_holds() -> None:
    [(stem, _)] = stems_of([covering(1, 17, 29), covering(0, 4711, 4790)])
    assert stem == "1a2b3c4d.0-4711-4790.1-17-29"


def test_a_topic_made_again_has_files_of_its_own() -> None:
    assert [stem for stem, _ in stems_of([covering(0, topic_id=OTHER), covering(0)])] == [
        "1a2b3c4d.0-0-9",
        "ffffffff.0-0-9",
    ]


@given(st.sets(st.integers(0, 255), min_size=1, max_size=256), st.integers(1, 10**15))
def test_every_range_stands_under_one_name_that_file_systems_take(partitions: set[int], offset: int) -> None:
    named = stems_of(covering(partition, offset, offset + 5) for partition in partitions)
    assert all(len(stem) <= MAX_STEM_CHARS for stem, _ in named)
    assert len({stem for stem, _ in named}) == len(named)
    assert sorted(one.partition for _, group in named for one in group) == sorted(partitions)


def test_the_place_of_a_file_says_day_and_bucket() -> None:
    file = ArchiveFile(day_of(day_number(NOON_US)), 3, "1a2b3c4d.0-0-9.parquet", 1, 1, "")
    assert file.place == "day=2025-11-24/tenant_hash=03/1a2b3c4d.0-0-9.parquet"


def test_days_end_at_midnight_of_utc_also_before_1970() -> None:
    assert [day_of(day_number(one)) for one in (-1, 0, 86_399_999_999, 86_400_000_000)] == [
        date(1969, 12, 31),
        date(1970, 1, 1),
        date(1970, 1, 1),
        date(1970, 1, 2),
    ]


def test_the_bucket_of_a_tenant_never_changes() -> None:
    assert bucket_of(ALICE) == 4
    assert {bucket_of(f"tnt_{number:020d}") for number in range(100)} == set(range(BUCKETS))


def test_every_field_of_an_event_and_its_place_becomes_a_column() -> None:
    event = usage("e", ingest_events="0.000000000001")
    batch, unreadable = columns(record(usage("before"), event))
    row = batch.slice(1).to_pylist()[0]
    assert unreadable == 0
    assert (row["tenant"], row["source"], row["event_id"], row["event_type"]) == (ALICE, "test", "e", "ingest")
    assert (row["key"], row["digest"], row["time_us"], row["kind"]) == (event.key, event.digest, NOON_US, 0)
    assert (row["topic_id"], row["kafka_partition"], row["kafka_offset"], row["kafka_index"]) == (str(TOPIC), 0, 7, 1)
    assert (row["appended_at_ms"], row["time_stamped"]) == (1_764_000_000_123, False)
    assert json.loads(row["attributes"]) == {"maestro.ingest.events": "0.000000000001"}
    assert row["amounts"] == [("ingest_events", Decimal("0.000000000001"))]


@given(
    st.one_of(
        st.integers(0, 10**18 - 1),
        st.decimals(0, 10**18 - 1, places=12, allow_nan=False, allow_infinity=False).map(lambda one: format(one, "f")),
    )
)
def test_amounts_lose_no_digit(amount: int | str) -> None:
    batch, _ = columns(record(usage(ingest_events=amount)))
    [row] = batch.to_pylist()
    assert row["amounts"] == [("ingest_events", Decimal(amount))]


def test_levels_are_among_the_amounts_and_events_that_no_meter_takes_have_none() -> None:
    batch, _ = columns(record(usage("1", storage_bytes=10**17), usage("2", ingest_events="NaN")))
    assert [row["amounts"] for row in batch.to_pylist()] == [[("storage_gb", Decimal(10**17))], []]


def test_what_cannot_be_read_is_counted_and_hides_nothing_else() -> None:
    batch, unreadable = columns(record(value=b"garbage"), record(usage(ingest_events=1)))
    assert (batch.num_rows, unreadable) == (1, 1)


def test_no_column_is_a_float() -> None:
    assert not [field.name for field in SCHEMA if "float" in str(field.type) or "double" in str(field.type)]


@pytest.mark.parametrize("value", [True, None, 2**63 - 1, -(2**63), "9007199254740993.1", 'ü\n"'])
def test_attributes_come_out_as_they_went_in(value: str | int | None) -> None:
    event = usage()
    event.attributes["a"] = value
    batch, _ = columns(record(event))
    assert json.loads(batch.to_pylist()[0]["attributes"]) == {"a": value}
