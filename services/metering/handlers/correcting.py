"""Corrections: asked for by somebody, answered once the archive holds the event, in one transaction with the effect.

Killed anywhere before its commit, an answer was nothing. Why so: docs/decisions/0014-corrections.md.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from libs.bus.audit import Change, record_change
from libs.runtime.acts import Act, BadReason
from libs.runtime.crashpoints import crash_point
from libs.schemas.values import TenantId, microseconds
from libs.store.faults import is_poison
from libs.store.pool import Pool, Tx, transaction
from services.metering import metrics
from services.metering.domain.archiving import bucket_of, day_number, day_of
from services.metering.domain.correcting import Correction, Decision, Last, changes, corrected, decide, effects
from services.metering.domain.events import Attributes, UsageEvent
from services.metering.domain.identity import Fingerprints
from services.metering.domain.meters import Meters
from services.metering.errors import ArchiveDamaged, CorrectionRaced, NoArchive, UnknownEvent
from services.metering.handlers.reading import ARCHIVE_CONSUMER, SHARDS_CONSUMER, SHARDS_TOPIC, Reading
from services.metering.store import corrections, gauges, ids, windows
from services.metering.store.archive import snapshot
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.archive.reading import Wanted, find
from services.metering.store.archive.snapshot import Covered
from services.metering.store.corrected_samples import mark_taken_out, take_out
from services.metering.store.corrections import Answer, Asked, Kept
from services.metering.store.fence import closed_periods, share_fence

SERVICE: Final = "metering"
MAX_AT_ONCE: Final = 1_000  # events of one look into the archive and one transaction: tens of milliseconds of the fence
MAX_LISTED: Final = 1_000  # events of one call: each is looked for in all runs of its lane
LOOK_AGAIN_S: Final = 2.0  # a lot of the archive comes every minute or so
SKEW: Final = timedelta(minutes=1)  # between the clocks of the store and of the broker

NOT_ARCHIVED: Final = "the archive, which does not hold the event yet"
UNREADABLE: Final = "the archive, which cannot be read"
NEVER_ARCHIVED: Final = (
    "the archive does not hold the event: it was counted before there was one, or its record was lost"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """Events of one tenant, by source and id, that are voided under one name: `list_id`, the same when repeated."""

    list_id: uuid.UUID
    events: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Asking:
    """Takes requests for corrections. Without an archive (`is_archived`) nothing can be corrected."""

    fingerprints: Fingerprints
    is_archived: bool

    async def ask(
        self, tx: Tx, tenant_id: TenantId, event: tuple[str, str], attributes: Attributes | None, act: Act
    ) -> Kept:
        """Keep a request to void an event or, with attributes, to amend it.

        Raises BadReason without a reason, NoArchive, UnknownEvent, or CorrectionRaced.
        """
        _require_reason(act)
        if not self.is_archived:
            raise NoArchive("events are corrected from the archive, and this installation keeps none: MAESTRO_ARCHIVE")
        source, event_id = event
        key = self.fingerprints.key(tenant_id, source, event_id)
        stands = (await ids.standing(tx, [key])).get(key)
        if stands is None:
            raise UnknownEvent("no such event is counted: it is under way, or its id is older than ids are kept")
        asked = Asked(uuid.uuid4(), source, event_id, key, stands, attributes)
        if not await corrections.ask(tx, tenant_id, [asked], act):
            raise CorrectionRaced("another correction of the event came at the same time: look at it, and ask again")
        kept = await corrections.by_id(tx, asked.correction_id)
        assert kept is not None
        said = {"action": kept.action, "source": source, "id": event_id, "number": str(kept.number)}
        subject = f"correction/{kept.correction_id}"
        change = Change("correction.requested", subject, kept.requested_at, tenant_id=tenant_id, details=said)
        await record_change(tx, SERVICE, act, change)
        return kept

    async def void_listed(self, tx: Tx, tenant_id: TenantId, listed: Listed, act: Act) -> list[tuple[str, str]]:
        """Ask for the void of at most MAX_LISTED events of a list; return those that are not counted (yet).

        Asked for again, the same events are asked for once. What is said of it to the record of changes is the
        caller's. Raises BadReason, NoArchive, or CorrectionRaced: then the chunk is to be tried again.
        """
        _require_reason(act)
        if not self.is_archived:
            raise NoArchive("events are corrected from the archive, and this installation keeps none: MAESTRO_ARCHIVE")
        keys = {self.fingerprints.key(tenant_id, *event): event for event in listed.events[:MAX_LISTED]}
        standing = await ids.standing(tx, list(keys))
        asked = [
            Asked(uuid.uuid5(listed.list_id, key.hex()), *keys[key], key, stands) for key, stands in standing.items()
        ]
        await corrections.ask(tx, tenant_id, asked, act, listed.list_id)
        if len(await corrections.kept(tx, [one.correction_id for one in asked])) < len(asked):
            raise CorrectionRaced("other corrections of some of the events came at the same time: ask again")
        return [event for key, event in keys.items() if key not in standing]


def _require_reason(act: Act) -> None:
    if act.reason is None:
        raise BadReason("whoever corrects usage says why: send the header Maestro-Reason")


async def show_waiting(tx: Tx) -> None:
    """Show how many corrections wait, and how long."""
    count, age_s = await corrections.waiting(tx)
    metrics.CORRECTIONS_WAITING.replace(SERVICE, [({}, count)])
    metrics.CORRECTION_AGE.replace(SERVICE, [({}, age_s)])


@dataclass(frozen=True, slots=True)
class Correcting:
    """Answers requests for corrections, in the order of their numbers for each event."""

    reading: Reading
    pool: Pool
    folder: ArchiveFolder
    meters: Meters
    fingerprints: Fingerprints

    async def turn(self) -> bool:
        """Answer what can be answered now; return whether there may be more."""
        async with transaction(self.pool) as tx:
            due = await corrections.due(tx, MAX_AT_ONCE)
        if not due:
            return False
        originals, why = await self._originals(due)
        await self._answer([one for one, _ in due if one.key in originals], originals)
        await self._put_off([one for one, _ in due if one.key not in originals], why)
        return len(why) < len(due) or len(due) == MAX_AT_ONCE

    async def _originals(
        self, due: Sequence[tuple[Correction, datetime]]
    ) -> tuple[dict[bytes, UsageEvent], dict[uuid.UUID, str]]:
        """Return what stands, by key, and of all others what they wait for."""
        topic_id = (await self.reading.bus.topic_ids([SHARDS_TOPIC])).get(SHARDS_TOPIC)
        async with transaction(self.pool) as tx:
            # In this order: what is archived as far as this says lies in the files that are listed after it.
            covered = await snapshot.covered(tx, (SHARDS_CONSUMER, ARCHIVE_CONSUMER))
            files = await self._files(tx, [one for one, _ in due])
        now = [one for one in covered if one.topic_id == topic_id]
        wanted = [Wanted(one.tenant_id, one.key, one.digest, one.time_us) for one, _ in due]
        try:
            found = await asyncio.to_thread(find, files, wanted)
        except ArchiveDamaged as error:
            _log.error("the archive cannot be read, and corrections wait: %s", error)
            return {}, {one.correction_id: UNREADABLE for one, _ in due}
        originals = {key: event for key, event in found.items() if self._is_whole(event)}
        missing = [(one, at) for one, at in due if one.key not in originals]
        return originals, {
            one.correction_id: NEVER_ARCHIVED if one.key not in found and _has_passed(now, at) else NOT_ARCHIVED
            for one, at in missing
        }

    async def _files(self, tx: Tx, due: Sequence[Correction]) -> list[Path]:
        days: dict[int, set[int]] = defaultdict(set)
        for one in due:
            days[bucket_of(one.tenant_id)].add(day_number(one.time_us))
        paths: list[Path] = []
        for bucket, numbers in days.items():
            wanted = {day_of(number) for number in numbers}
            files = await snapshot.files_of(tx, bucket, min(wanted), max(wanted))
            paths += [self.folder.published / file.place for file in files if file.day in wanted]
        return paths

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
            await share_fence(tx)
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

    async def _put_off(self, due: Sequence[Correction], why: Mapping[uuid.UUID, str]) -> None:
        lost = [one for one in due if why[one.correction_id] == NEVER_ARCHIVED]
        waiting = {one.correction_id: why[one.correction_id] for one in due if one not in lost}
        if waiting:
            async with transaction(self.pool) as tx:
                await corrections.put_off(tx, waiting, LOOK_AGAIN_S)
        await self._refuse(lost, NEVER_ARCHIVED)

    async def _refuse(self, due: Sequence[Correction], why: str) -> None:
        if not due:
            return
        async with transaction(self.pool) as tx:
            held = await corrections.take(tx, [one.correction_id for one in due])
            refused = [Decision(one, refused=why) for one in due if one.correction_id in held]
            await corrections.answer(tx, [self._said(one) for one in refused])
        _note(refused)


def _has_passed(covered: Sequence[Covered], requested_at: datetime) -> bool:
    """Return whether the archive holds all that was counted when the request was made."""
    until_ms = microseconds(requested_at + SKEW) // 1000
    return all(one.archived_to >= one.counted_to or one.archived_at_ms > until_ms for one in covered)


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
