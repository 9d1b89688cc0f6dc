"""The events behind a total, in pages, and what an event was: from the archive, decided as shard owners decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from libs.runtime.errors import Unavailable
from libs.schemas.values import EXACT, from_microseconds, microseconds
from libs.store.pool import Pool, transaction
from services.metering.domain.archiving import DAY_US, ArchiveFile, bucket_of, day_number, day_of
from services.metering.domain.events import window_of_us
from services.metering.domain.gauges import Span
from services.metering.domain.lists import Place
from services.metering.domain.replaying import HORIZON_US, decide
from services.metering.domain.watermark import Progress, watermark
from services.metering.errors import ArchiveAway, LookupsFull, LookupTooSlow
from services.metering.handlers.looking import Looking, Turns, looking
from services.metering.handlers.reading import ARCHIVE_CONSUMER, SHARDS_CONSUMER, SHARDS_TOPIC, Reading
from services.metering.store import behind
from services.metering.store.archive import coverage, snapshot
from services.metering.store.archive.coverage import Coverage
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.archive.looking import Body, Candidate, What
from services.metering.store.behind import Adjusted, Closed, Corrected, Counted

BUDGET_S: Final = 4.0  # a page that has taken so long ends where it is; its cursor goes on from there
NOTES_KEPT: Final = timedelta(days=33)  # that an id came again is noted for 35 days at least; clocks differ by less
COPIES_WITHIN_US: Final = HORIZON_US + DAY_US  # a copy comes within the horizon, and a day for what waits in Kafka
MAX_ASIDE: Final = 100  # records that were set aside, the newest, in which an event that nobody counted is looked for

Standing = Mapping[tuple[bytes, int], Body]
"""What stands by key and time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The events behind the total of one metric of a tenant over [start, end), those behind `after`.

    Of a gauge, they are its samples, from `reach_us` before the start: a level holds so long.
    """

    tenant_id: str
    metric: str
    start: datetime
    end: datetime
    reach_us: int | None = None
    after: Place | None = None

    @property
    def span(self) -> Span:
        """When the events lie that the total comes from."""
        return Span(microseconds(self.start) - (self.reach_us or 0), microseconds(self.end))


@dataclass(frozen=True, slots=True)
class Behind:
    """One event: what it counts for in the windows, what beside those of a period that was closed before."""

    place: Place
    event_type: str
    amount: Decimal
    adjusted: Adjusted | None
    corrected: Corrected | None


@dataclass(frozen=True, slots=True)
class EventsPage:
    """A page. `counted` is live; the archive holds all that Kafka got up to `archived_to` (None: not known now)."""

    items: Sequence[Behind]
    after: Place | None
    counted: Counted
    archived_to: datetime | None


@dataclass(frozen=True, slots=True)
class Explained:
    """What the archive says of one event, and which closed period holds it. `set_aside` is why it counts nowhere."""

    archive: Literal["read", "waiting", "away"]
    body: Body | None = None
    closed: Closed | None = None
    set_aside: str | None = None


@dataclass(slots=True)
class _Walk:
    """How far a page is: what was found, and the place up to which all was looked at."""

    at: Place
    found: list[tuple[Candidate, Body]] = field(default_factory=list)
    is_over: bool = True


@dataclass(frozen=True, slots=True)
class Explaining:
    """Answers from the archive and the store, each within the rows of its tenant. `pool` has the API's role."""

    pool: Pool
    reading: Reading
    folder: ArchiveFolder | None
    turns: Turns = field(default_factory=Turns)

    async def events(self, wanted: Wanted, limit: int) -> EventsPage:
        """Return at most `limit` events; raise ArchiveAway, LookupsFull or LookupTooSlow.

        A page may be short, or empty, and still have one behind it. Events that were archived when the first page was
        asked for are in exactly one page; those that come meanwhile where they sort behind it.
        """
        archived_to = await self.archived_to()
        async with transaction(self.pool, tenant=wanted.tenant_id) as tx:
            counted = await behind.counted(tx, wanted.tenant_id, wanted.metric, wanted.start, wanted.end)
            covered = await coverage.coverage(tx, SHARDS_CONSUMER, ARCHIVE_CONSUMER)
            days = await behind.days(tx, wanted.tenant_id, wanted.metric, wanted.start, wanted.end)
        async with looking(self.turns, self.folder, covered.scope(wanted.tenant_id)) as look:
            walk = await self._walk(look, wanted, _days(wanted, days), limit)
        items = await self._items(wanted, walk.found[:limit])
        if len(walk.found) > limit:
            return EventsPage(items, items[-1].place, counted, archived_to)
        return EventsPage(items, None if walk.is_over else walk.at, counted, archived_to)

    async def event(self, tenant_id: str, key: bytes, time_us: int | None) -> Explained:
        """Return what there is to say of the event under this key; `time_us` is of the one that stands, if one does.

        Where the archive cannot be read now, it says so and raises nothing.
        """
        try:
            if time_us is None:
                return Explained("read", set_aside=await self._set_aside(tenant_id, key))
            body = await self._body(tenant_id, key, time_us)
        except (ArchiveAway, LookupsFull, LookupTooSlow):
            return Explained("away", closed=await self._closed_at(tenant_id, time_us))
        return Explained("waiting" if body is None else "read", body, await self._closed_at(tenant_id, time_us))

    async def _closed_at(self, tenant_id: str, time_us: int | None) -> Closed | None:
        if time_us is None:
            return None
        async with transaction(self.pool, tenant=tenant_id) as tx:
            return await behind.closed_at(tx, tenant_id, from_microseconds(window_of_us(time_us)))

    async def _body(self, tenant_id: str, key: bytes, time_us: int) -> Body | None:
        """Return what the event said that stands under this key, at this time; None where it is not archived yet."""
        day = day_of(day_number(time_us))
        async with transaction(self.pool, tenant=tenant_id) as tx:
            covered = await coverage.coverage(tx, SHARDS_CONSUMER, ARCHIVE_CONSUMER)
        async with looking(self.turns, self.folder, covered.scope(tenant_id)) as look:
            standing = await self._standing(look, tenant_id, day, [Candidate(key, Place.before(time_us))])
        return standing.get((key, time_us))

    async def _set_aside(self, tenant_id: str, key: bytes) -> str | None:
        """Return why the record was set aside that holds an event with this key, None where none of the newest does."""
        async with transaction(self.pool, tenant=tenant_id) as tx:
            asides = await coverage.aside(tx, SHARDS_CONSUMER, bucket_of(tenant_id), MAX_ASIDE)
            covered = await coverage.coverage(tx, SHARDS_CONSUMER, ARCHIVE_CONSUMER)
        if not asides:
            return None
        files = list(dict.fromkeys(one.file for one in asides))
        async with looking(self.turns, self.folder, Coverage(covered.reaches, ()).scope(tenant_id)) as look:
            came = await look.ask(look.look.came, await look.locate(files), [key])
        reasons = {tuple(one.spot): one.reason for one in asides}
        return next((reasons[one.spot[:3]] for one, _ in came if one.spot[:3] in reasons), None)

    async def archived_to(self) -> datetime | None:
        """Return up to when the archive holds all that Kafka got, None while that is not known."""
        asked_at = self.reading.clock.now()
        try:
            topic_id = (await self.reading.bus.topic_ids([SHARDS_TOPIC])).get(SHARDS_TOPIC)
            ends = await self.reading.ends()
        except Unavailable:
            return None
        async with transaction(self.pool) as tx:
            covered = await coverage.coverage(tx, SHARDS_CONSUMER, ARCHIVE_CONSUMER)
        reached = {
            one.partition: Progress(one.archived_to, one.archived_at_ms)
            for one in covered.reaches
            if one.topic_id == topic_id
        }
        return watermark(reached, ends, asked_at)

    async def _walk(self, look: Looking, wanted: Wanted, days: Sequence[date], limit: int) -> _Walk:
        """Look through the days, from the place that the last page ended at, until a page and one more is found."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + BUDGET_S
        span = wanted.span
        walk = _Walk(at=wanted.after or Place.before(span.start_us))
        for day in days:
            day_us = microseconds(datetime.combine(day, time(), UTC))
            if day_us + DAY_US <= walk.at.time_us:
                continue
            within_us = max(span.start_us, day_us), min(span.end_us, day_us + DAY_US)
            async for standing in self._lots(look, wanted, (day, within_us), walk, limit):
                walk.found += standing
                if len(walk.found) > limit or loop.time() > ends_at:
                    walk.is_over = False
                    return walk
            walk.at = Place.before(day_us + DAY_US)
        return walk

    async def _lots(
        self, look: Looking, wanted: Wanted, of_day: tuple[date, tuple[int, int]], walk: _Walk, limit: int
    ) -> AsyncIterator[list[tuple[Candidate, Body]]]:
        """Yield the day's events behind the walk's place that stand, lot by lot; move the walk on."""
        day, within_us = of_day
        paths = await look.locate(await self._files(wanted.tenant_id, day, day))
        async with transaction(self.pool, tenant=wanted.tenant_id) as tx:
            what = What(wanted.metric, await behind.amended(tx, wanted.tenant_id, wanted.metric, within_us))
        more = True
        while more:
            found = await look.ask(look.look.candidates, paths, within_us, what, walk.at, limit + 1)
            more = len(found) > limit
            if found:
                standing = await self._standing(look, wanted.tenant_id, day, found)
                walk.at = found[-1].place
                yield _standing_ones(found, standing, what)

    async def _standing(self, look: Looking, tenant_id: str, day: date, candidates: Sequence[Candidate]) -> Standing:
        """Return what stands under the keys of candidates of one day.

        Of most ids the store knows that they came once. For the others, and for ids that it has forgotten, the files of
        all days are read in which a copy may lie.
        """
        again = await self._came_again(tenant_id, candidates)
        alone = [one.key for one in candidates if one.key not in again]
        came = await look.ask(look.look.came, await self._paths(look, tenant_id, day, day), alone)
        if again:
            reach = timedelta(microseconds=COPIES_WITHIN_US)
            came += await look.ask(look.look.came, await self._paths(look, tenant_id, day - reach, day + reach), again)
        bodies = {one.spot: (one.key, one.time_us, body) for one, body in came}
        standing = [bodies[spot] for spot in decide(one for one, _ in came).counted]
        return {(key, time_us): body for key, time_us, body in standing}

    async def _came_again(self, tenant_id: str, candidates: Sequence[Candidate]) -> Collection[bytes]:
        noted_from_us = microseconds(self.reading.clock.now() - NOTES_KEPT)
        async with transaction(self.pool, tenant=tenant_id) as tx:
            noted = await behind.came_again(tx, [one.key for one in candidates])
        return noted | {one.key for one in candidates if one.place.time_us < noted_from_us}

    async def _paths(self, look: Looking, tenant_id: str, first: date, last: date) -> list[Path]:
        return await look.locate(await self._files(tenant_id, first, last))

    async def _files(self, tenant_id: str, first: date, last: date) -> list[ArchiveFile]:
        async with transaction(self.pool, tenant=tenant_id) as tx:
            return await snapshot.files_of(tx, bucket_of(tenant_id), first, last)

    async def _items(self, wanted: Wanted, found: Sequence[tuple[Candidate, Body]]) -> list[Behind]:
        async with transaction(self.pool, tenant=wanted.tenant_id) as tx:
            keys = [one.key for one, _ in found]
            adjusted = await behind.adjusted(tx, wanted.tenant_id, wanted.metric, keys)
            corrected = await behind.corrected(tx, wanted.tenant_id, wanted.metric, keys)
        return [
            _behind(one.place, body, wanted.metric, adjusted.get(one.key), corrected.get(one.key))
            for one, body in found
        ]


def _days(wanted: Wanted, used: Sequence[date]) -> list[date]:
    if wanted.reach_us is None:
        return list(used)
    span = wanted.span  # a sample lies where it changes no window
    return [day_of(number) for number in range(day_number(span.start_us), day_number(span.end_us - 1) + 1)]


def _standing_ones(candidates: Sequence[Candidate], standing: Standing, what: What) -> list[tuple[Candidate, Body]]:
    bodies = [(one, standing.get((one.key, one.place.time_us))) for one in candidates]
    return [
        (one, body)
        for one, body in bodies
        if body is not None and (what.metric in body.amounts or one.key in what.keys)
    ]


def _behind(place: Place, body: Body, metric: str, adjusted: Adjusted | None, corrected: Corrected | None) -> Behind:
    """Return the event as it counts now: all that it does not count for a closed period, it counts in its window."""
    counts = body.amounts.get(metric, Decimal(0)) if corrected is None else corrected.amount
    amount = counts if adjusted is None else EXACT.subtract(counts, adjusted.value)
    return Behind(place, body.event_type, amount, adjusted, corrected)
