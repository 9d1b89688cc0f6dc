"""How the bus fares, seen from one service: lag, watermark, outbox, lease, dead letters, sampled every few seconds.

Read from what is stored and from the broker, not from the consumers of this process: a consumer that is stuck, or that
this process does not run, is seen just as well. What is seen of a service none of whose processes runs is what it told
last (MaestroUnreadNearRetention). Nothing is done per record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from libs.bus import metrics
from libs.bus.deadletters.register import forget_expired, waiting_counts
from libs.bus.ports import Bus
from libs.bus.standing import Standings
from libs.bus.subscription import Subscription
from libs.runtime.clock import Clock
from libs.runtime.errors import Broken, Unavailable
from libs.schemas import topics
from libs.schemas.values import microseconds
from libs.store.pool import Pool, Tx, transaction

SAMPLE_S: Final = 5.0  # a scrape every 15 s sees each value at most so old; a handful of index look-ups each time
PATIENCE_S: Final = 10.0  # of one sample
SECONDS_AN_HOUR: Final = 3_600
FORGET_S: Final = 3_600.0  # how often letters are forgotten whose record the broker has forgotten

Sampler = Callable[[Tx], Awaitable[None]]

_log = logging.getLogger(__name__)


class Vitals:
    """The sampler of one service; any number of processes may run it.

    `also` samples what is the service's own; `forwarded` are its consumers whose offsets the broker keeps.
    """

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        *,
        service: str,
        clock: Clock,
        also: Sequence[Sampler] = (),
        forwarded: Sequence[Subscription] = (),
    ) -> None:
        """Wire the sampler; `run` starts it."""
        self._pool = pool
        self._bus = bus
        self._service = service
        self._clock = clock
        self._also = also
        self._standings = Standings(pool, bus, clock, forwarded)
        self._forget_at_s = 0.0

    async def run(self) -> None:
        """Sample until cancelled. What cannot be learnt is not shown, and the time of the last sample says so."""
        while True:
            idle, size = self._pool.get_idle_size(), self._pool.get_size()
            most = self._pool.get_max_size()
            metrics.show_connections(self._service, idle=idle, used=size - idle, most=most)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.sample()
            except (Unavailable, Broken, TimeoutError) as error:  # whoever only watches stops nothing
                _log.warning("vitals are not known: %s", error)
                metrics.forget_vitals(self._service)
            await asyncio.sleep(SAMPLE_S)

    async def sample(self) -> None:
        """Look once at store and broker; raise Unavailable."""
        waiting = await self._sample_store()
        found = await self._standings.look()
        metrics.show_lags(self._service, found.lags())
        ages = found.ages_s()
        metrics.show_by_topic(self._service, metrics.LAG_AGE, ages)
        metrics.show_by_topic(self._service, metrics.WATERMARK, found.watermarks_s())
        metrics.show_by_topic(self._service, metrics.RETENTION_USED, retention_used(ages))
        none = dict.fromkeys(ages, 0)  # so that a consumer without dead letters shows 0, and not nothing
        metrics.show_by_topic(self._service, metrics.LETTERS_WAITING, {**none, **waiting})
        await self._sample_dead_letters({topic for _, topic in ages})
        await self._forget_letters()
        metrics.SAMPLED_AT.replace(self._service, [({}, microseconds(self._clock.now()) / 1_000_000)])

    async def _sample_store(self) -> Mapping[tuple[str, str], int]:
        async with transaction(self._pool) as tx:
            outbox = await tx.fetchrow(_OUTBOX)
            is_held = await tx.fetchval(_LEASE)
            waiting = await waiting_counts(tx)
            for sampler in self._also:
                await sampler(tx)
        assert outbox is not None
        metrics.OUTBOX_ROWS.replace(self._service, [({}, outbox["count"])])
        metrics.OUTBOX_AGE.replace(self._service, [({}, outbox["age_s"])])
        metrics.LEASE_HELD.replace(self._service, [({}, int(is_held))])
        return waiting

    async def _sample_dead_letters(self, names: Collection[str]) -> None:
        letters = {name: name + topics.DEAD_LETTER_SUFFIX for name in names}
        there = await self._bus.topic_ids(letters.values())
        held = {
            name: sum((await self._bus.end_offsets(dead)).values())
            - sum((await self._bus.start_offsets(dead)).values())
            for name, dead in letters.items()
            if dead in there
        }
        metrics.DEAD_LETTERS_KEPT.replace(self._service, [({"topic": name}, count) for name, count in held.items()])

    async def _forget_letters(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._forget_at_s:
            return
        async with transaction(self._pool) as tx:
            for spec in topics.registry().values():
                kept_h = topics.dead_letter_spec(spec).retention_h or 0
                await forget_expired(tx, spec.name, kept_h)
        self._forget_at_s = now_s + FORGET_S


def retention_used(ages_s: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Return, by (consumer, topic), which part of its topic's retention the oldest unhandled record has used up."""
    specs = topics.registry()
    return {
        (consumer, topic): age_s / (kept_h * SECONDS_AN_HOUR)
        for (consumer, topic), age_s in ages_s.items()
        if topic in specs and (kept_h := specs[topic].retention_h) is not None
    }


_OUTBOX: Final = """
SELECT count(*) AS count, coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS age_s
FROM outbox
"""
_LEASE: Final = "SELECT expires_at > clock_timestamp() FROM relay_lease"
