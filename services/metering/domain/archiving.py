"""Where an event lies in the archive, and what its files are called. Readers may rely on both: they never change.

    usage/day=2026-11-24/tenant_hash=03/1a2b3c4d.0-4711-4790.1-17-29.parquet

That file holds events of that UTC day, of tenants of bucket 3, from the offsets [4711, 4790) of partition 0 and
[17, 29) of partition 1 of the topic whose id begins with 1a2b3c4d.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from libs.schemas.values import EPOCH

BUCKETS: Final = (
    8  # of tenants: a query of one tenant reads an eighth of a day, a quiet minute makes eight files at most
)
DAY_US: Final = 86_400_000_000
MAX_STEM_CHARS: Final = 200  # file systems take 255 bytes a name

_FIRST_DAY: Final = EPOCH.date()


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The offsets [start, end) of one partition, of which `first_appended_at_ms` tells when the first was appended."""

    topic_id: UUID
    partition: int
    start: int
    end: int
    first_appended_at_ms: int


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file: where it lies, how many events it holds, and what it must be, byte for byte."""

    day: date
    tenant_hash: int
    name: str
    event_count: int
    size_bytes: int
    sha256: str

    @property
    def place(self) -> str:
        """Its path below the folder of published files, and below its lot's folder in staging."""
        return f"day={self.day.isoformat()}/tenant_hash={self.tenant_hash:02d}/{self.name}"


def bucket_of(tenant_id: str) -> int:
    """Return the tenant's bucket: CRC-32 of its id, modulo BUCKETS."""
    return zlib.crc32(tenant_id.encode()) % BUCKETS


def day_number(time_us: int) -> int:
    """Return the UTC day of an instant, in days since 1970."""
    return time_us // DAY_US


def day_of(number: int) -> date:
    """Return the day `number` days after 1970-01-01."""
    return _FIRST_DAY + timedelta(days=number)


def stems_of(ranges: Iterable[OffsetRange]) -> list[tuple[str, Sequence[OffsetRange]]]:
    """Return what files of these ranges are called, without ending, and which ranges go together under one name.

    All of them, unless there are more than a name has room for.
    """
    groups: list[list[OffsetRange]] = []
    for one in sorted(ranges, key=lambda one: (one.topic_id.hex, one.partition, one.start)):
        if not groups or one.topic_id != groups[-1][0].topic_id or len(_stem([*groups[-1], one])) > MAX_STEM_CHARS:
            groups.append([])
        groups[-1].append(one)
    return [(_stem(group), group) for group in groups]


def _stem(group: Sequence[OffsetRange]) -> str:
    return ".".join([group[0].topic_id.hex[:8], *(f"{one.partition}-{one.start}-{one.end}" for one in group)])
