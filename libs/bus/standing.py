"""How far every consumer of a service is behind, in records and in seconds, and its watermark.

By what is stored, here or in the broker, and what the log holds. A consumer that moved since the last look is at most
as far behind as what it took last is old. One that did not move is asked for exactly: what it took last may be days
old, what waits a second.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.bus.lookup import record_at
from libs.bus.ports import Bus, Committed
from libs.bus.progress import SKEW_BOUND_MS
from libs.bus.records import TopicPartition
from libs.bus.subscription import Subscription
from libs.runtime.clock import Clock
from libs.runtime.errors import Broken
from libs.schemas.values import microseconds
from libs.store.pool import Pool, transaction


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a consumer has come in one partition, by its service's store or by the broker."""

    consumer: str
    source: TopicPartition
    topic_id: UUID
    next: int
    appended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """`lag` records are not handled; the oldest of them was appended `age_s` ago."""

    consumer: str
    source: TopicPartition
    lag: int
    age_s: float

    @property
    def pair(self) -> tuple[str, str]:
        """Consumer and topic."""
        return self.consumer, self.source.topic


@dataclass(frozen=True, slots=True)
class Look:
    """All standings, as of `asked_at_s` (seconds since 1970)."""

    standings: Sequence[Standing]
    asked_at_s: float

    def lags(self) -> dict[tuple[str, str, int], int]:
        """Return the records not handled, by consumer, topic and partition."""
        return {(*one.pair, one.source.partition): one.lag for one in self.standings}

    def ages_s(self) -> dict[tuple[str, str], float]:
        """Return the age of the oldest record not handled, by consumer and topic; 0 where there is none."""
        found: dict[tuple[str, str], float] = {}
        for one in self.standings:
            found[one.pair] = max(found.get(one.pair, 0.0), one.age_s)
        return found

    def watermarks_s(self) -> dict[tuple[str, str], float]:
        """Return the instant up to which everything appended is handled, by consumer and topic."""
        skew_s = SKEW_BOUND_MS / 1000
        return {pair: self.asked_at_s - max(skew_s, age_s) for pair, age_s in self.ages_s().items()}


class Standings:
    """Looks at the consumers of one database, and at the `forwarded`, whose offsets the broker keeps.

    Remembers the last look.
    """

    def __init__(self, pool: Pool, bus: Bus, clock: Clock, forwarded: Sequence[Subscription] = ()) -> None:
        """Wire it."""
        self._pool = pool
        self._bus = bus
        self._clock = clock
        self._forwarded = forwarded
        self._before: dict[tuple[str, TopicPartition], int] = {}
        self._unread: dict[tuple[str, TopicPartition], tuple[int, int | None]] = {}

    async def look(self) -> Look:
        """Return where every consumer stands in the topics as they now are; raise Unavailable."""
        asked_at_s = microseconds(self._clock.now()) / 1_000_000
        names = {one.source.topic for one in await self._stored()}
        names.update(*(of.topics for of in self._forwarded))
        ids = await self._ids(names)
        ends = {name: await self._bus.end_offsets(name) for name in ids}
        # Asked after the ends: whoever has reached them by then has handled all that was appended before `asked_at_s`.
        stored = [one for one in await self._stored() if ids.get(one.source.topic) == one.topic_id]
        reached = stored + await self._committed(ids)
        found = [await self._standing(one, ends[one.source.topic], asked_at_s) for one in reached]
        self._before = {(one.consumer, one.source): one.next for one in reached}
        return Look(found, asked_at_s)

    async def _ids(self, names: Collection[str]) -> Mapping[str, UUID]:
        """Return the topics' ids. One that the service may not see, as it did before an upgrade, hides no other."""
        try:
            return await self._bus.topic_ids(names)
        except Broken:
            found: dict[str, UUID] = {}
            for name in names:
                with suppress(Broken):
                    found |= await self._bus.topic_ids([name])
            return found

    async def _committed(self, ids: Mapping[str, UUID]) -> list[Reached]:
        """Return how far the forwarded are: at the log's start where they committed nothing of the topic as it is."""
        found: list[Reached] = []
        for of in self._forwarded:
            for topic in ids.keys() & set(of.topics):
                starts = {number: Committed(first) for number, first in (await self._bus.start_offsets(topic)).items()}
                committed = await self._bus.committed(of.group, topic)
                ours = {number: mark for number, mark in committed.items() if mark.topic_id in {None, ids[topic]}}
                found += [
                    Reached(of.consumer, TopicPartition(topic, number), ids[topic], mark.next, mark.appended_at_ms)
                    for number, mark in (starts | ours).items()
                ]
        return found

    async def _stored(self) -> list[Reached]:
        async with transaction(self._pool) as tx:
            rows = await tx.fetch(_REACHED)
        return [
            Reached(
                row["consumer"],
                TopicPartition(row["topic"], row["partition"]),
                row["topic_id"],
                row["next"],
                row["appended_at_ms"],
            )
            for row in rows
        ]

    async def _standing(self, one: Reached, ends: Mapping[int, int], asked_at_s: float) -> Standing:
        lag = max(0, ends.get(one.source.partition, 0) - one.next)
        appended_at_ms = await self._oldest_unread_ms(one) if lag else None
        age_s = 0.0 if appended_at_ms is None else max(0.0, asked_at_s - appended_at_ms / 1000)
        return Standing(one.consumer, one.source, lag, age_s)

    async def _oldest_unread_ms(self, one: Reached) -> int | None:
        """Return when the first record not handled was appended, as exactly as it is cheap to know."""
        me = (one.consumer, one.source)
        if self._before.get(me, one.next) != one.next:
            return one.appended_at_ms
        offset, appended_at_ms = self._unread.get(me, (-1, None))
        if offset != one.next:
            first = (await self._bus.start_offsets(one.source.topic)).get(one.source.partition, 0)
            found = await record_at(self._bus, one.source, max(first, one.next))
            # Dropped, compacted away, or a transaction's marker: what was taken last is a bound. Of whoever took
            # nothing yet, the oldest that the log still holds is one.
            appended_at_ms = one.appended_at_ms
            if found is not None and (one.next >= first or appended_at_ms is None):
                appended_at_ms = found.appended_at_ms
            self._unread[me] = (one.next, appended_at_ms)
        return appended_at_ms


_REACHED: Final = "SELECT consumer, topic, topic_id, partition, next, appended_at_ms FROM consumer_offset"
