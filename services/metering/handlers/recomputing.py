"""Totals built again from the archive, and held against the live ones: of what both cover, to the unit."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from libs.bus.ports import Bus
from libs.bus.records import Record
from libs.runtime.clock import Clock
from libs.runtime.errors import Rejected, Unavailable
from libs.schemas.values import microseconds
from libs.store.pool import Pool, transaction
from services.metering.domain.archiving import ArchiveFile, bucket_of, day_number, day_of
from services.metering.domain.comparing import Compared, Limits, compare, integrated
from services.metering.domain.correcting import as_corrected
from services.metering.domain.folding import Folded, fold
from services.metering.domain.gauges import Sample, Span
from services.metering.domain.meters import Counted, Meter, Meters, Sampled
from services.metering.domain.records import decode
from services.metering.domain.replaying import HORIZON_US, Decided, decide
from services.metering.domain.watermark import Progress, watermark
from services.metering.errors import BadQuery
from services.metering.handlers.reading import ARCHIVE_CONSUMER, SHARDS_CONSUMER, SHARDS_TOPIC
from services.metering.store import corrections
from services.metering.store.archive import snapshot
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.archive.reading import Below, Reader, Scope
from services.metering.store.archive.snapshot import Covered, Snapshot

Grouped = dict[str, dict[str, list[Sample]]]

COPIES_WITHIN_US: Final = (
    HORIZON_US + 86_400_000_000
)  # a copy comes within the horizon, and a day for what waits in Kafka
MILLISECOND_US: Final = 1_000
TAIL_S: Final = 120.0  # for what is counted and not archived: a minute of records, read much faster than they came


@dataclass(frozen=True, slots=True)
class Asked:
    """Which windows: those of a tenant's metrics that begin within [start, end), both on the grain."""

    tenant_id: str
    metrics: Sequence[str]
    within: Span


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What was found. `covered` says how far; up to `archived_to` all that Kafka got is in the archive."""

    windows: Sequence[Compared]
    copies: int
    conflicts: int
    events: int
    files: int
    covered: Sequence[Covered]
    archived_to: datetime | None


@dataclass(frozen=True, slots=True)
class Recomputation:
    """Builds totals again. Writes nothing."""

    bus: Bus
    pool: Pool
    folder: ArchiveFolder
    meters: Meters
    clock: Clock

    async def run(self, asked: Asked) -> Recomputed:
        """Return every window in which there is usage; raise BadQuery, ArchiveDamaged, or Unavailable."""
        chosen = [self._meter(metric) for metric in asked.metrics]
        asked_at = self.clock.now()
        reach_us = max((meter.max_staleness_us for meter in chosen if meter.is_gauge), default=0)
        needed = Span(asked.within.start_us - reach_us, asked.within.end_us)
        async with transaction(self.pool) as tx:
            await snapshot.hold_still(tx)
            span_us = (asked.within.start_us, asked.within.end_us)
            seen = await snapshot.look(tx, asked.tenant_id, asked.metrics, span_us, (SHARDS_CONSUMER, ARCHIVE_CONSUMER))
            days = _days(Span(needed.start_us - COPIES_WITHIN_US, needed.end_us + COPIES_WITHIN_US))
            files = await snapshot.files_of(tx, bucket_of(asked.tenant_id), *map(day_of, days))
            applied = await corrections.applied_within(tx, asked.tenant_id, needed.start_us, needed.end_us)
            seen = replace(seen, corrected=applied)
        limits, archived_to = await self._limits(asked.tenant_id, seen, asked_at)
        decided, folded, events = await asyncio.to_thread(self._replay, asked.tenant_id, seen, files, needed)
        windows = [one for meter in chosen for one in _compared(meter, asked.within, folded, seen, limits)]
        return Recomputed(windows, decided.copies, decided.conflicts, events, len(files), seen.covered, archived_to)

    def _meter(self, metric: str) -> Meter:
        if metric not in self.meters.by_metric:
            raise BadQuery(f"there is no meter {metric!r} in force; there are {', '.join(self.meters.by_metric)}")
        return self.meters.by_metric[metric]

    def _replay(
        self, tenant_id: str, seen: Snapshot, files: Sequence[ArchiveFile], needed: Span
    ) -> tuple[Decided, Folded, int]:
        paths = {file: self.folder.check(file) for file in files}
        first, last = _days(needed)
        own = [path for file, path in paths.items() if day_of(first) <= file.day <= day_of(last)]
        below = [Below(str(one.topic_id), one.partition, min(one.counted_to, one.archived_to)) for one in seen.covered]
        folded, count = Folded(), 0
        with Reader(Scope(tenant_id, below, seen.left_out)) as reader:
            repeated = list(reader.repeated(list(paths.values()), needed.start_us, needed.end_us))
            decided = decide(repeated)
            span_us = (needed.start_us, needed.end_us)
            for events in reader.counted(own, span_us, {one.key for one in repeated}, decided.counted):
                count += len(events)
                fold(as_corrected(events, seen.corrected), self.meters, {}, onto=folded)
        return decided, folded, count

    async def _limits(self, tenant_id: str, seen: Snapshot, asked_at: datetime) -> tuple[Limits, datetime | None]:
        """Return what the archive does not cover of what is counted, and up to when it holds all that Kafka got."""
        topic_id = (await self.bus.topic_ids([SHARDS_TOPIC]))[SHARDS_TOPIC]
        starts, ends = await self.bus.start_offsets(SHARDS_TOPIC), await self.bus.end_offsets(SHARDS_TOPIC)
        gaps_us = [one.gap_ended_at_ms * MILLISECOND_US for one in seen.covered if one.gap_ended_at_ms is not None]
        missing: dict[int, Covered] = {}
        for one in seen.covered:
            if one.archived_to >= one.counted_to:
                continue
            if one.topic_id != topic_id:  # gone with its topic
                gaps_us.append(one.counted_at_ms * MILLISECOND_US)
            elif starts.get(one.partition, 0) > one.archived_to:  # dropped before it was archived
                gaps_us.append(microseconds(asked_at))
            else:
                missing[one.partition] = one
        limits = Limits(
            gap_ended_us=max(gaps_us, default=None),
            unarchived_us=await self._unarchived(tenant_id, missing),
            settled_to_us=seen.settled_to_us,
        )
        now = [one for one in seen.covered if one.topic_id == topic_id]
        progress = {one.partition: Progress(one.archived_to, one.archived_at_ms) for one in now}
        return limits, watermark(progress, ends, asked_at)

    async def _unarchived(self, tenant_id: str, missing: Mapping[int, Covered]) -> dict[str, set[int]]:
        """Return, by metric, the times of the tenant's events that were counted and are not archived."""
        times: dict[str, set[int]] = defaultdict(set)
        if not missing:
            return times
        ends = await self.bus.end_offsets(SHARDS_TOPIC)
        wanted = {number: one.counted_to for number, one in missing.items()}
        reached = {number: one.archived_to for number, one in missing.items()}
        reader = self.bus.reader(SHARDS_TOPIC)
        try:
            await reader.start({**ends, **reached})
            async with asyncio.timeout(TAIL_S):
                while any(reached[number] < end for number, end in wanted.items()):
                    got = await reader.poll()
                    for record in got.records:
                        if record.offset < wanted.get(record.partition, 0):
                            self._note(record, tenant_id, times)
                    reached |= {one.partition: to for one, to in got.positions.items() if one.partition in reached}
        except TimeoutError as error:
            raise Unavailable(f"what is counted and not archived could not be read within {TAIL_S:g} s") from error
        finally:
            await reader.stop()
        return times

    def _note(self, record: Record, tenant_id: str, times: dict[str, set[int]]) -> None:
        try:
            events = decode(record.value)
        except Rejected:
            return  # set aside by its shard's owner
        for event in events:
            if event.tenant_id != tenant_id:
                continue
            for outcome in self.meters.outcomes(event):
                if isinstance(outcome, Counted | Sampled):
                    times[outcome.metric].add(event.time_us)


def aligned(asked: Asked, grain_us: int) -> Asked:
    """Return the question with its bounds moved outwards to the grain."""
    start_us, end_us = asked.within.start_us, asked.within.end_us
    return replace(asked, within=Span(start_us - start_us % grain_us, end_us + -end_us % grain_us))


def _days(within: Span) -> tuple[int, int]:
    return day_number(within.start_us), day_number(within.end_us - 1)


def _compared(meter: Meter, within: Span, folded: Folded, seen: Snapshot, limits: Limits) -> Iterator[Compared]:
    live = {window_us: total for (metric, window_us), total in seen.totals.items() if metric == meter.metric}
    archived: Mapping[int, int | Decimal]
    if meter.is_gauge:
        archived = integrated(meter, _samples_of(meter, folded), within)
    else:
        archived = {
            window_us: total
            for (_, metric, window_us), total in folded.sums.items()
            if metric == meter.metric and within.start_us <= window_us < within.end_us
        }
    return compare(meter, archived, live, limits)


def _samples_of(meter: Meter, folded: Folded) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = defaultdict(list)
    for event, sampled in folded.samples:
        if sampled.metric == meter.metric:
            samples[sampled.resource].append(Sample(event.time_us, event.source, event.id, sampled.level))
    return samples
