"""The archiver's lots: gathered as columns, staged as files, kept in one transaction, published after it.

Killed anywhere it neither loses nor doubles a record: see docs/decisions/0012-the-archive.md.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from libs.bus.offsets import Incarnation, Move, Owned, hold_incarnation, move
from libs.bus.records import Record, TopicPartition
from libs.runtime.crashpoints import crash_point
from libs.runtime.tracing import span
from libs.store.pool import Pool, transaction
from services.metering import metrics
from services.metering.domain.archiving import ArchiveFile, OffsetRange
from services.metering.domain.meters import Meters
from services.metering.errors import ArchiveUnwritable
from services.metering.store.archive import manifest
from services.metering.store.archive.columns import batch_of, release_unused, table_of
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.archive.manifest import Lot

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Archive:
    """Keeps lots in `folder`, with the manifest in the store (a `libs.bus.lots.Keeper`)."""

    folder: ArchiveFolder
    pool: Pool
    meters: Meters
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _firsts_ms: dict[TopicPartition, int] = field(default_factory=dict)
    _has_looked: bool = False

    async def settle(self, me: Incarnation) -> None:
        """Publish what was committed and is not published; delete what this instance staged and did not commit."""
        try:
            await self._settle(me)
        except OSError as error:
            raise _unwritable(error) from error

    async def _settle(self, me: Incarnation) -> None:
        found = set() if self._has_looked else await asyncio.to_thread(self.folder.places)
        async with transaction(self.pool) as tx:
            # Held: a commit of ours whose end we did not hear of is over, and its lot is seen here or never will be.
            await hold_incarnation(tx, me)
            waiting = await manifest.unpublished(tx)
            # Listed before the manifest is read: whoever publishes meanwhile has said so there first.
            strangers = await manifest.unknown(tx, found) if found else []
        for place in strangers:
            self.folder.set_aside(place)
            _log.error("published file %s is unknown to the manifest of a restored store; it lies in aside/", place)
        for lot in waiting:
            await self._publish(lot)
        cleared = await asyncio.to_thread(self.folder.clear, me.instance, {lot.staged_in for lot in waiting})
        if cleared:
            _log.info("deleted %d lots that were staged and never committed; their records are read again", cleared)
        self._has_looked = True

    async def gather(self, records: Sequence[Record], owned: Mapping[TopicPartition, Owned]) -> int:
        """Add these records' events to the lot; return its size."""
        topic_ids = {source.partition: mine.topic_id for source, mine in owned.items()}
        batch, unreadable = await asyncio.to_thread(batch_of, records, topic_ids, self.meters)
        for record in records:
            self._firsts_ms.setdefault(record.source, record.appended_at_ms)
        self._batches.append(batch)
        metrics.ARCHIVE_SKIPPED.add(unreadable)
        return sum(one.nbytes for one in self._batches)

    async def keep(self, me: Incarnation, moves: Sequence[Move]) -> None:
        """Stage the lot, commit it with its offsets, publish it."""
        lot_id, firsts_ms = uuid.uuid4(), {source.partition: first for source, first in self._firsts_ms.items()}
        staged_in = f"{self.folder.staging_of(me.instance)}/{lot_id.hex}"
        ranges = [
            OffsetRange(one.owned.topic_id, one.partition, one.owned.next, one.to, firsts_ms[one.partition])
            for one in moves
        ]
        with span("archive lot"):
            lot = Lot(lot_id, staged_in, await self._stage(staged_in, ranges))
            crash_point("metering.archive_staged")
            async with transaction(self.pool) as tx:
                await hold_incarnation(tx, me)
                await move(tx, me.consumer, moves)
                await manifest.add(tx, lot, ranges)
                crash_point("metering.archive_recorded")
            crash_point("metering.archive_committed")
            self.discard()
            release_unused()
            await self._publish(lot)
        metrics.ARCHIVE_STANDS.replace("metering", [({}, 0)])

    def discard(self) -> None:
        """Begin the lot anew."""
        self._batches = []
        self._firsts_ms = {}

    async def _stage(self, staged_in: str, ranges: Sequence[OffsetRange]) -> list[ArchiveFile]:
        try:
            return await asyncio.to_thread(self.folder.stage, staged_in, table_of(self._batches), ranges)
        except OSError as error:
            self.folder.clear_staged(staged_in)  # what lies there takes room that somebody may need to log the trouble
            raise _unwritable(error) from error

    async def _publish(self, lot: Lot) -> None:
        try:
            for file in lot.files:
                await asyncio.to_thread(self.folder.publish, lot.staged_in, file)
                crash_point("metering.archive_file_published")
            async with transaction(self.pool) as tx:
                await manifest.mark_published(tx, lot.lot_id)
            await asyncio.to_thread(self.folder.clear_staged, lot.staged_in)
        except OSError as error:
            raise _unwritable(error) from error
        metrics.ARCHIVED_FILES.add(len(lot.files))
        metrics.ARCHIVED_BYTES.add(sum(file.size_bytes for file in lot.files))
        metrics.ARCHIVED_EVENTS.add(sum(file.event_count for file in lot.files))


def _unwritable(error: OSError) -> ArchiveUnwritable:
    metrics.ARCHIVE_STANDS.replace("metering", [({}, 1)])
    return ArchiveUnwritable(f"the archive cannot be written: {error.strerror or error}: {error.filename or ''}")
