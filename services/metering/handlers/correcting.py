"""Corrections are answered once the archive holds the event, each in one transaction with its effect.

Killed anywhere before its commit, an answer was nothing. Why so: docs/decisions/0014-corrections.md.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from libs.runtime.crashpoints import crash_point
from libs.schemas.values import EPOCH, microseconds
from libs.store.faults import is_poison
from libs.store.pool import Pool, Tx, transaction
from services.metering import metrics
from services.metering.domain.archiving import bucket_of, day_number, day_of
from services.metering.domain.correcting import Correction, Decision, Last, changes, corrected, decide, effects
from services.metering.domain.events import UsageEvent
from services.metering.domain.identity import Fingerprints
from services.metering.domain.versions import MeterBook
from services.metering.errors import ArchiveDamaged
from services.metering.handlers.reading import ARCHIVE_CONSUMER, SHARDS_CONSUMER, SHARDS_TOPIC, Reading
from services.metering.store import corrections, gauges, meters, windows
from services.metering.store.archive import snapshot
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.archive.reading import Wanted, find
from services.metering.store.archive.snapshot import Covered
from services.metering.store.corrected_samples import mark_taken_out, take_out
from services.metering.store.corrections import Answer
from services.metering.store.fence import closed_periods, share_fence

SERVICE: Final = "metering"
MAX_AT_ONCE: Final = 1_000  # events of one look into the archive and one transaction: tens of milliseconds of the fence
LOOK_AGAIN_S: Final = 2.0  # a lot of the archive comes every minute or so
MENDED_S: Final = 30.0  # until somebody has mended the archive; the log says so each time
SKEW: Final = timedelta(minutes=1)  # between the clocks of the store and of the broker

NOT_ARCHIVED: Final = "the archive, which does not hold the event yet"
UNREADABLE: Final = "the archive, which cannot be read"
DAMAGED: Final = "the archive, whose row is not what was counted"
NEVER_ARCHIVED: Final = (
    "the archive does not hold the event: it was counted before there was one, or its record was lost"
)

_log = logging.getLogger(__name__)


Folder = tuple[int, int]
"""Of the archive: the bucket of tenants, and the day."""


async def show_waiting(tx: Tx) -> None:
    """Show how many corrections wait, and how long."""
    count, age_s = await corrections.waiting(tx)
    metrics.CORRECTIONS_WAITING.replace(SERVICE, [({}, count)])
    metrics.CORRECTION_AGE.replace(SERVICE, [({}, age_s)])


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands, by key, and by id what the other corrections wait for."""

    originals: dict[bytes, UsageEvent] = field(default_factory=dict)
    missing: dict[uuid.UUID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Correcting:
    """Answers requests for corrections, in the order of their numbers for each event."""

    reading: Reading
    pool: Pool
    folder: ArchiveFolder
    meters: MeterBook
    fingerprints: Fingerprints

    async def turn(self) -> bool:
        """Answer what can be answered now; return whether there may be more."""
        async with transaction(self.pool) as tx:
            due = await corrections.due(tx, MAX_AT_ONCE)
        if not due:
            return False
        seen = await self._look([one for one, _ in due], [at for _, at in due])
        await self._answer([one for one, _ in due if one.key in seen.originals], seen.originals)
        await self._put_off(seen.missing)
        await self._refuse([one for one, _ in due if seen.missing.get(one.correction_id) == NEVER_ARCHIVED])
        return len(seen.missing) < len(due) or len(due) == MAX_AT_ONCE

    async def _look(self, due: Sequence[Correction], requested_at: Sequence[datetime]) -> Seen:
        """Look for what stands in the archive."""
        topic_id = (await self.reading.bus.topic_ids([SHARDS_TOPIC])).get(SHARDS_TOPIC)
        async with transaction(self.pool) as tx:
            # In this order: what is archived as far as this says lies in the files that are listed after it.
            covered = await snapshot.covered(tx, (SHARDS_CONSUMER, ARCHIVE_CONSUMER))
            files = await self._files(tx, due)
        now = [one for one in covered if one.topic_id == topic_id]
        found = await self._find(due, files)
        seen = Seen({key: event for key, event in found.originals.items() if self._is_whole(event)}, found.missing)
        for one, at in zip(due, requested_at, strict=True):
            if one.key in found.originals and one.key not in seen.originals:
                seen.missing[one.correction_id] = DAMAGED
            elif one.key not in found.originals and one.correction_id not in seen.missing:
                seen.missing[one.correction_id] = NEVER_ARCHIVED if _has_passed(now, at) else NOT_ARCHIVED
        return seen

    async def _files(self, tx: Tx, due: Sequence[Correction]) -> dict[Folder, list[Path]]:
        """Return the files of each folder that some of the events lie in."""
        days: dict[int, set[int]] = defaultdict(set)
        for bucket, day in map(_folder_of, due):
            days[bucket].add(day)
        paths: dict[Folder, list[Path]] = defaultdict(list)
        for bucket, numbers in days.items():
            for file in await snapshot.files_of(tx, bucket, day_of(min(numbers)), day_of(max(numbers))):
                paths[bucket, (file.day - EPOCH.date()).days].append(self.folder.published / file.place)
        return paths

    async def _find(self, due: Sequence[Correction], files: Mapping[Folder, Sequence[Path]]) -> Seen:
        """Look into the files of these; where one cannot be read, into those of each folder by themselves."""
        of_folder: dict[Folder, list[Correction]] = defaultdict(list)
        for one in due:
            of_folder[_folder_of(one)].append(one)
        wanted = [Wanted(one.tenant_id, one.key, one.digest, one.time_us) for one in due]
        try:
            paths = [path for folder in of_folder for path in files.get(folder, ())]
            return Seen(await asyncio.to_thread(find, paths, wanted))
        except ArchiveDamaged as error:
            if len(of_folder) == 1:
                _log.error("corrections wait: %s", error)
                return Seen(missing=dict.fromkeys((one.correction_id for one in due), UNREADABLE))
        seen = Seen()
        for own in of_folder.values():
            found = await self._find(own, files)
            seen.originals.update(found.originals)
            seen.missing.update(found.missing)
        return seen

    def _is_whole(self, event: UsageEvent) -> bool:
        """Return whether the row is what was counted: its body has the digest that stands under its id."""
        time_us = None if event.time_stamped else event.time_us
        if self.fingerprints.body(event.type, event.kind, time_us, event.attributes) == event.digest:
            return True
        _log.critical("an archived event is not what was counted", extra={"source": event.source, "id": event.id})
        return False

    async def _answer(self, due: Sequence[Correction], originals: Mapping[bytes, UsageEvent]) -> None:
        """Answer these, but for those whose values the store refuses: nobody's correction holds up another's."""
        if not due:
            return
        try:
            await self._apply(due, originals)
        except Exception as error:
            if not is_poison(error):
                raise
            if len(due) == 1:
                _log.error("a correction is refused by the store: %s", error, extra={"id": str(due[0].correction_id)})
                await self._refuse(due, f"the store refuses what it would come to: {type(error).__name__}")
                return
            middle = len(due) // 2
            await self._answer(due[:middle], originals)
            await self._answer(due[middle:], originals)

    async def _apply(self, due: Sequence[Correction], originals: Mapping[bytes, UsageEvent]) -> None:
        async with transaction(self.pool) as tx:
            await meters.follow(tx, self.meters, await share_fence(tx))
            held = await corrections.take(tx, [one.correction_id for one in due])
            mine = [one for one in due if one.correction_id in held]
            if not mine:
                return
            # Asked once they are held: what was answered before by another process is seen.
            last = await corrections.last_applied(tx, mine)
            closed = await closed_periods(tx, {one.tenant_id for one in mine}, min(one.time_us for one in mine))
            decided = [self._decide(one, originals[one.key], last.get(one.key)) for one in mine]
            changed = changes([one for one in decided if one.refused is None], self.meters, closed)
            await windows.add(tx, changed.sums)
            await corrections.adjust(tx, changed.adjustments)
            await take_out(tx, changed.removed)
            await gauges.add_samples(tx, changed.added)
            await mark_taken_out(tx, changed.removed)
            await corrections.answer(tx, [self._said(one) for one in decided])
            crash_point("metering.correction_applied")
        _note(decided)

    def _decide(self, one: Correction, original: UsageEvent, last: Last | None) -> Decision:
        return decide(one, original, corrected(original, last), self.meters)

    def _said(self, one: Decision) -> Answer:
        return Answer(one.correction, effects(one.before, self.meters), effects(one.after, self.meters), one.refused)

    async def _put_off(self, missing: Mapping[uuid.UUID, str]) -> None:
        async with transaction(self.pool) as tx:
            for pause_s, whys in ((LOOK_AGAIN_S, {NOT_ARCHIVED}), (MENDED_S, {UNREADABLE, DAMAGED})):
                await corrections.put_off(tx, {one: why for one, why in missing.items() if why in whys}, pause_s)

    async def _refuse(self, due: Sequence[Correction], why: str = NEVER_ARCHIVED) -> None:
        if not due:
            return
        async with transaction(self.pool) as tx:
            held = await corrections.take(tx, [one.correction_id for one in due])
            refused = [Decision(one, refused=why) for one in due if one.correction_id in held]
            await corrections.answer(tx, [self._said(one) for one in refused])
        _note(refused)


def _folder_of(one: Correction) -> Folder:
    return bucket_of(one.tenant_id), day_number(one.time_us)


def _has_passed(covered: Sequence[Covered], requested_at: datetime) -> bool:
    """Return whether the archive holds all that was counted when the request was made."""
    until_ms = microseconds(requested_at + SKEW) // 1000
    return bool(covered) and all(one.archived_to >= one.counted_to or one.archived_at_ms > until_ms for one in covered)


def _note(decided: Sequence[Decision]) -> None:
    applied = [one for one in decided if one.refused is None]
    for one in applied:
        metrics.CORRECTIONS.add(1, {"action": one.correction.action, "outcome": "applied"})
    for one in decided:
        if one.refused is not None:
            metrics.CORRECTIONS.add(1, {"action": one.correction.action, "outcome": "refused"})
    if len(decided) == 1:
        [only] = decided
        outcome = "applied" if only.refused is None else f"refused: {only.refused}"
        _log.info("%s %s", only.correction.action, outcome, extra={"correction_id": str(only.correction.correction_id)})
    elif decided:
        _log.info("%d corrections applied, %d refused", len(applied), len(decided) - len(applied))
