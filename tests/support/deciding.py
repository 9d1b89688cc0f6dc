"""Owners of shards on one store, batch by batch, and a dictionary that says what each of them has to answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import numpy as np

from libs.bus.offsets import Owned, begin_incarnation, take
from libs.bus.ports import Bus
from libs.bus.records import TopicPartition
from libs.store.pool import Pool, Tx, connection, transaction
from services.metering.domain.events import UsageEvent
from services.metering.domain.runs import LANES
from services.metering.handlers.clearing import clear_away
from services.metering.handlers.known_ids import KnownIds
from services.metering.handlers.merging import Merger
from services.metering.handlers.reading import SHARDS_CONSUMER, SHARDS_TOPIC
from services.metering.store import ids, runs
from services.metering.store.run_files import RunFiles
from services.metering.store.runs import Run
from tests.support.metering import NOON_US
from tests.support.runs import columns_in

TOPIC_ID = UUID(int=5)


@dataclass
class Deciding:
    """One process: what it knows, its merger, its files."""

    bus: Bus
    pool: Pool
    folder: Path
    instance: str = "0"
    known: KnownIds = field(init=False)
    merger: Merger = field(init=False)

    def __post_init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Forget all but the files, as a process that is started again."""
        files = RunFiles(self.folder / self.instance)
        self.known = KnownIds(self.bus, self.pool, files)
        self.merger = Merger(self.known, self.pool, files)

    async def own(self, partitions: Iterable[int] = range(LANES)) -> None:
        """Take these partitions, and know their ids."""
        starts = {TopicPartition(SHARDS_TOPIC, number): (TOPIC_ID, 0) for number in partitions}
        async with transaction(self.pool) as tx:
            number = await begin_incarnation(tx, SHARDS_CONSUMER, self.instance)
            owned: dict[TopicPartition, Owned] = await take(
                tx, consumer=SHARDS_CONSUMER, instance=self.instance, incarnation=number, starts=starts
            )
        self.known.discard()
        await self.known.load(owned)

    async def own_nothing(self) -> None:
        """Have no partition: all is looked up in the store."""
        self.known.discard()
        await self.known.load({})

    async def restart(self) -> None:
        """Start anew, and take all partitions."""
        self.start_anew()
        await self.own()

    async def claim(
        self, events: Sequence[UsageEvent], *, seen_us: int = NOON_US, rolled_back: bool = False
    ) -> dict[bytes, int]:
        """Decide a batch, and commit it unless it is to be rolled back."""
        async with connection(self.pool) as tx:
            begun = tx.transaction()
            await begun.start()
            known = await self.claim_in(tx, events, seen_us)
            await (begun.rollback() if rolled_back else begun.commit())
        if rolled_back:
            self.known.discard()
        return known

    async def claim_in(self, tx: Tx, events: Sequence[UsageEvent], seen_us: int = NOON_US) -> dict[bytes, int]:
        """Decide a batch in a transaction of the caller's."""
        return await self.known.claim(tx, {event.key: event for event in events}, seen_us)

    async def merge(self) -> int:
        """Merge until nothing is due; return how many times."""
        turns = 0
        while await self.merger.turn():
            turns += 1
        return turns


async def add_run(pool: Pool, lane: int, entries: int, *, kept_from_us: int = NOON_US, seed: int = 1) -> Run:
    """Have another add a run of random ids to a lane."""
    columns = columns_in(np.random.default_rng(seed), lane, entries)
    async with transaction(pool) as tx:
        seqs = await runs.sequences(tx, [lane])
        run = Run(runs.new_id(lane, seqs[lane]), lane, entries, kept_from_us)
        assert not await runs.add(tx, {run: columns}, seqs)
    return run


async def standing(pool: Pool) -> int:
    """How many ids stand in the store."""
    return int(await pool.fetchval("SELECT coalesce(sum(entries), 0) FROM usage_id_run WHERE state = 'live'"))


async def run_states(pool: Pool) -> dict[str, int]:
    """How many runs are in each state."""
    return {row[0]: row[1] for row in await pool.fetch("SELECT state, count(*) FROM usage_id_run GROUP BY state")}


async def cleared_away(pool: Pool) -> None:
    """Clear away all that is gone."""
    has_more = True
    while has_more:
        async with transaction(pool) as tx:
            has_more = await clear_away(tx)


async def times_of(pool: Pool, keys: Collection[bytes]) -> list[int | None]:
    """What any process says of when these events were."""
    async with transaction(pool) as tx:
        return [(await ids.history(tx, key)).time_us for key in keys]
