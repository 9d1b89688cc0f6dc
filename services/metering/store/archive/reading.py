"""Reading the archive with DuckDB: the occurrences of a tenant that were counted, and what lies under repeated ids."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import duckdb
import msgspec
import pyarrow as pa

from services.metering.domain.events import Attributes, Kind, UsageEvent
from services.metering.domain.replaying import Occurrence, Spot
from services.metering.errors import ArchiveDamaged

BATCH_EVENTS: Final = 20_000  # decoded at once
THREADS: Final = 2
MEMORY: Final = "256MB"  # of DuckDB's own; beyond it, it spills below the temporary folder of the machine

_ATTRIBUTES: Final = msgspec.json.Decoder(Attributes)


class Below(NamedTuple):
    """Of this partition, records below `offset` are looked at."""

    topic_id: str
    partition: int
    offset: int


class SetAside(NamedTuple):
    """A record that a shard owner set aside: nothing in it counted."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Scope:
    """Which occurrences are looked at: those of one tenant that lie below, and were not set aside."""

    tenant_id: str
    below: Sequence[Below]
    left_out: Sequence[SetAside]


class Reader:
    """One look at some files. Blocking: it belongs in a thread."""

    def __init__(self, scope: Scope) -> None:
        """Open DuckDB in memory."""
        self._tenant_id = scope.tenant_id
        self._db = duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY})
        self._give("below", _PLACE, scope.below)
        self._give("left_out", _PLACE, scope.left_out)

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._db.close()

    def interrupt(self) -> None:
        """Stop what another thread has this do: it raises duckdb.InterruptException there."""
        self._db.interrupt()

    def repeated(self, files: Sequence[Path], start_us: int, end_us: int) -> Iterator[Occurrence]:
        """Yield the occurrences, key by key, of ids that came more than once, one of them within [start, end)."""
        if not files:
            return
        self._db.execute(_REPEATED, self._asked(files, start_us, end_us))
        while rows := self._db.fetchmany(BATCH_EVENTS):
            for key, digest, time_us, appended_at_ms, *spot in rows:
                yield Occurrence(key, digest, time_us, appended_at_ms, Spot(*spot))

    def counted(
        self, files: Sequence[Path], span_us: tuple[int, int], keys: Collection[bytes], spots: Collection[Spot]
    ) -> Iterator[list[UsageEvent]]:
        """Yield the events of [start, end) that count: under one of the repeated `keys` those at `spots`, else all."""
        if not files:
            return
        self._give("repeated", _KEY, [(key,) for key in keys])
        self._give("standing", _SPOT, spots)
        self._db.execute(_COUNTED, self._asked(files, *span_us))
        while rows := self._db.fetchmany(BATCH_EVENTS):
            yield [_event(row) for row in rows]

    def _asked(self, files: Sequence[Path], start_us: int, end_us: int) -> dict[str, object]:
        return {
            "files": [str(path) for path in files],
            "tenant": self._tenant_id,
            "start": start_us,
            "end": end_us,
        }

    def _give(self, name: str, schema: pa.Schema, rows: Collection[tuple[object, ...]]) -> None:
        columns: list[Collection[object]] = [*zip(*rows, strict=True)] or [() for _ in schema]
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)]
        self._db.register(name, pa.Table.from_arrays(arrays, schema=schema))


class Wanted(NamedTuple):
    """An event that stands: whose, which, with which body, when."""

    tenant_id: str
    key: bytes
    digest: int
    time_us: int


def find(files: Sequence[Path], wanted: Sequence[Wanted]) -> dict[bytes, UsageEvent]:
    """Return those of the wanted events that are in these files, by key. Blocking; raises ArchiveDamaged."""
    if not files or not wanted:
        return {}
    columns = [list(column) for column in zip(*wanted, strict=True)]
    tenants, times = columns[0], columns[3]
    span = {"first": min(tenants), "last": max(tenants), "start": min(times), "end": max(times)}
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _WANTED.types, strict=True)]
    found: dict[bytes, UsageEvent] = {}
    try:
        with duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY}) as db:
            db.register("wanted", pa.Table.from_arrays(arrays, schema=_WANTED))
            db.execute(_FOUND, {"files": [str(path) for path in files], **span})
            while rows := db.fetchmany(BATCH_EVENTS):
                found |= {row[0]: _event(row) for row in rows}
    except duckdb.Error as error:
        raise ArchiveDamaged(f"files of the archive cannot be read: {error}") from error
    return found


def _event(row: tuple[Any, ...]) -> UsageEvent:
    key, digest, tenant, source, event_id, event_type, kind, time_us, time_stamped, attributes = row
    return UsageEvent(
        key,
        digest,
        tenant,
        source,
        event_id,
        event_type,
        Kind(kind),
        time_us,
        time_stamped,
        _ATTRIBUTES.decode(attributes),
    )


_PLACE: Final = pa.schema([("topic_id", pa.string()), ("kafka_partition", pa.int32()), ("kafka_offset", pa.int64())])
_SPOT: Final = pa.schema([*_PLACE, ("kafka_index", pa.int32())])
_KEY: Final = pa.schema([("key", pa.binary())])
_WANTED: Final = pa.schema(
    [("tenant", pa.string()), ("key", pa.binary()), ("digest", pa.int64()), ("time_us", pa.int64())]
)

MINE: Final = """
WITH mine AS (
  SELECT file.* FROM read_parquet($files, hive_partitioning = false) AS file
  JOIN below ON below.topic_id = file.topic_id AND below.kafka_partition = file.kafka_partition
    AND file.kafka_offset < below.kafka_offset
  ANTI JOIN left_out ON left_out.topic_id = file.topic_id AND left_out.kafka_partition = file.kafka_partition
    AND left_out.kafka_offset = file.kafka_offset
  WHERE file.tenant = $tenant)
"""
_REPEATED: Final = f"""
{MINE}, again AS (
  SELECT key FROM mine GROUP BY key HAVING count(*) > 1 AND bool_or(time_us >= $start AND time_us < $end))
SELECT key, digest, time_us, appended_at_ms, topic_id, kafka_partition, kafka_offset, kafka_index
FROM mine SEMI JOIN again USING (key) ORDER BY key
"""  # noqa: S608 - put together from constants
_COUNTED: Final = f"""
{MINE}
SELECT mine.key, digest, tenant, source, event_id, event_type, kind, time_us, time_stamped, attributes FROM mine
LEFT JOIN repeated ON repeated.key = mine.key
LEFT JOIN standing ON standing.topic_id = mine.topic_id AND standing.kafka_partition = mine.kafka_partition
  AND standing.kafka_offset = mine.kafka_offset AND standing.kafka_index = mine.kafka_index
WHERE time_us >= $start AND time_us < $end AND (repeated.key IS NULL OR standing.kafka_offset IS NOT NULL)
"""  # noqa: S608 - put together from constants
# Rows of one key, digest and time are copies: any of them will do.
_FOUND: Final = """
SELECT file.key, file.digest, file.tenant, source, event_id, event_type, kind, file.time_us, time_stamped, attributes
FROM read_parquet($files, hive_partitioning = false) AS file
JOIN wanted ON wanted.key = file.key AND wanted.digest = file.digest AND wanted.time_us = file.time_us
  AND wanted.tenant = file.tenant
WHERE file.tenant BETWEEN $first AND $last AND file.time_us BETWEEN $start AND $end
"""
