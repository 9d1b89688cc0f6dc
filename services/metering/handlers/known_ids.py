"""What the owner of shards knows: the ids that stand in its lanes, loaded with its partitions, added to by batches.

Memory is right only together with the store's sequence of the lane: ids are added under the number at which it was
loaded, in the transaction of totals and offsets. Where that has moved (a copy came through another partition, another
owner) nothing is added, the lane is read again, and the batch decided again. So memory can be behind and never wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from libs.bus.offsets import Owned
from libs.bus.ports import Bus
from libs.bus.records import TopicPartition
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, Tx, transaction
from services.metering.domain.events import UsageEvent
from services.metering.domain.lanes import Lane, Part, joined, lanes_of, leader_of
from services.metering.domain.probing import marks_of
from services.metering.domain.runs import Columns, Mask, Numbers, Places, columns_of, lane_bounds
from services.metering.domain.tiers import SMALL_ENTRIES, week_of
from services.metering.handlers.reading import SHARDS_TOPIC
from services.metering.store import ids_of_before, runs
from services.metering.store.run_files import Mapped, NoFile, RunFiles
from services.metering.store.runs import Run

MAX_TRIES: Final = 10  # of one batch: each time another has added to the same lane meanwhile

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lead:
    """Who may merge a lane: the owner of this partition, under this epoch."""

    source: TopicPartition
    owned: Owned


class KnownIds:
    """Decides which keys stood before, and adds the others. One batch at a time."""

    def __init__(self, bus: Bus, pool: Pool, files: RunFiles) -> None:
        """Know nothing. Without `load` all is looked up in the store, which is as exact."""
        self._bus = bus
        self._pool = pool
        self._files = files
        self._lanes: dict[int, Lane] = {}
        self._leads: dict[int, Lead] = {}
        self._pending: dict[int, Part] = {}
        self._none_are_of_before = False

    async def load(self, owned: Mapping[TopicPartition, Owned]) -> None:
        """Know the lanes of these partitions, which were taken, and no others."""
        partitions = await self._bus.partitions(SHARDS_TOPIC) if owned else 1
        wanted = set().union(*(lanes_of(source.partition, partitions) for source in owned))
        self._pending.clear()
        self._lanes = {lane: self._lanes.get(lane) or Lane(lane) for lane in sorted(wanted)}
        mine = {source.partition: Lead(source, one) for source, one in owned.items()}
        leaders = {lane: leader_of(lane, partitions) for lane in wanted}
        self._leads = {lane: mine[leader] for lane, leader in leaders.items() if leader in mine}
        if not wanted:
            return
        async with transaction(self._pool) as tx:
            await ids_of_before.cut_over(tx)
            await runs.give_up_begun(tx, self._leads)
            self._files.keep_only([run.id for run in await runs.live_runs(tx, range(256))])
            self._none_are_of_before = not await ids_of_before.are_left(tx)
        for number in wanted:
            async with transaction(self._pool) as tx:
                await self._learn(tx, [number])
        _log.info("%d ids are known in %d lanes", sum(map(self.entries, self._lanes)), len(self._lanes))

    def entries(self, lane: int) -> int:
        """Return how many ids of the lane are known."""
        return sum(part.entries for part in self._lanes[lane].parts)

    def led(self) -> list[tuple[Lane, Lead]]:
        """Return the lanes that are ours to merge."""
        return [(self._lanes[number], lead) for number, lead in sorted(self._leads.items())]

    def may_be_of_before(self) -> bool:
        """Return whether ids of before may be left, which are asked for each batch."""
        return not self._none_are_of_before

    def look_again(self) -> None:
        """Read again which runs stand before the next batch: some were forgotten, and what they take is to go."""
        for lane in self._lanes.values():
            lane.is_known = False

    def discard(self) -> None:
        """Count on nothing: what was to be added may not be, or others may have. Runs themselves never change."""
        self._pending.clear()
        self.look_again()

    async def claim(self, tx: Tx, firsts: Mapping[bytes, UsageEvent], seen_us: int) -> dict[bytes, int]:
        """Let these events, seen at `seen_us`, stand; return the digests of the keys under which another stood before.

        The caller commits `tx`, or calls `discard`.
        """
        self._settle()
        events = firsts.values()
        batch = columns_of(list(firsts), [event.digest for event in events], [event.time_us for event in events])
        bounds = lane_bounds(batch)
        waiting = {lane: batch.part(bounds[lane], end) for lane, end in enumerate(bounds[1:]) if end > bounds[lane]}
        known: dict[bytes, int] = {}
        for _ in range(MAX_TRIES):
            waiting = await self._add_fresh(tx, waiting, seen_us, known)
            if not waiting:
                return known
        raise Unavailable("others add to the same lanes all the time")

    def _settle(self) -> None:
        # The batch before was committed: else `discard` was called.
        for number, part in self._pending.items():
            lane = self._lanes[number]
            lane.seq += 1
            lane.add(part)
        self._pending.clear()

    async def _add_fresh(
        self, tx: Tx, waiting: Mapping[int, Columns], seen_us: int, known: dict[bytes, int]
    ) -> dict[int, Columns]:
        """Put what stood before into `known`, and add the rest; return what is to be decided again."""
        seqs = await self._know(tx, waiting)
        before = await self._of_before(tx, waiting)
        added: dict[Run, Columns] = {}
        for lane, asked in waiting.items():
            which, digests = await self._find(tx, lane, asked)
            is_fresh = np.ones(len(asked), np.bool_)
            is_fresh[which] = False
            known.update(zip(asked.at(which).keys(), digests.tolist(), strict=True))
            if before:
                _leave_out(asked, before, is_fresh, known)
            if is_fresh.any():
                fresh = asked.at(is_fresh)
                kept_from_us = max(seen_us, int(fresh.times_us.max()))
                added[Run(runs.new_id(lane, seqs[lane]), lane, len(fresh), kept_from_us)] = fresh
        passed = await runs.add(tx, added, seqs) if added else set()
        for run, fresh in added.items():
            if run.lane in passed:
                self._doubt(run.lane)
            elif run.lane in self._lanes:
                self._pending[run.lane] = Part(fresh, frozenset([run.id]), run.kept_from_us)
        return {lane: waiting[lane] for lane in passed}

    async def _know(self, tx: Tx, lanes: Collection[int]) -> dict[int, int]:
        """Read again what is not known of these lanes; return the sequences under which to add."""
        doubted = [lane for lane in lanes if lane in self._lanes and not self._lanes[lane].is_known]
        if doubted:
            await self._learn(tx, doubted)
        foreign = [lane for lane in lanes if lane not in self._lanes]
        seqs = await runs.sequences(tx, foreign) if foreign else {}
        return seqs | {lane: self._lanes[lane].seq for lane in lanes if lane in self._lanes}

    async def _find(self, tx: Tx, lane: int, asked: Columns) -> tuple[Places, Numbers]:
        if lane in self._lanes:
            return self._lanes[lane].find(asked.high, asked.low, marks_of(asked.low))
        keys = asked.keys()
        found = await runs.look_up(tx, keys)
        places = [place for place, key in enumerate(keys) if key in found]
        return np.array(places, np.intp), np.array([found[keys[place]][0] for place in places], np.int64)

    async def _of_before(self, tx: Tx, waiting: Mapping[int, Columns]) -> dict[bytes, int]:
        if self._none_are_of_before:
            return {}
        if not await ids_of_before.are_left(tx):
            self._none_are_of_before = bool(self._lanes)  # those with lanes have cut over: nobody adds any
            return {}
        return await ids_of_before.look_up(tx, list(chain.from_iterable(asked.keys() for asked in waiting.values())))

    def _doubt(self, lane: int) -> None:
        if lane in self._lanes:
            self._lanes[lane].is_known = False

    async def _learn(self, tx: Tx, lanes: Collection[int]) -> None:
        """Read which runs stand in these lanes, and load those that are not in memory."""
        seqs = await runs.sequences(tx, lanes)
        live: defaultdict[int, list[Run]] = defaultdict(list)
        for run in await runs.live_runs(tx, lanes):
            live[run.lane].append(run)
        for number in lanes:
            try:
                await self._learn_one(tx, number, live[number], seqs[number])
            except NoFile as error:
                # As exact, and slower by far; tried again when partitions are taken anew.
                _log.critical("lane %d is looked up in the store, key by key: %s", number, error)
                del self._lanes[number]
                self._leads.pop(number, None)

    async def _learn_one(self, tx: Tx, number: int, live: Sequence[Run], seq: int) -> None:
        lane = self._lanes[number]
        before, standing = lane.runs(), [run.id for run in live]
        missing = lane.keep(standing)
        if gone := before.difference(standing):
            await asyncio.to_thread(self._files.remove, gone)
        await self._load_small(tx, lane, [run for run in live if run.id in missing])
        for run in live:
            if run.id in missing and run.entries >= SMALL_ENTRIES:
                mapped = await self._mapped(tx, run)
                lane.parts.insert(0, Part(mapped.columns, frozenset([run.id]), run.kept_from_us, mapped.words))
        lane.seq, lane.is_known = seq, True

    async def _load_small(self, tx: Tx, lane: Lane, missing: Collection[Run]) -> None:
        weeks: defaultdict[int, list[Part]] = defaultdict(list)
        async for run, columns in runs.read_small(tx, [run for run in missing if run.entries < SMALL_ENTRIES]):
            _require_whole(run, len(columns))
            weeks[week_of(run.kept_from_us)].append(Part(columns, frozenset([run.id]), run.kept_from_us))
        for members in weeks.values():
            lane.add(joined(members))

    async def _mapped(self, tx: Tx, run: Run) -> Mapped:
        """Return a large run from its file, which is written anew where it is not there or not whole."""
        mapped = await asyncio.to_thread(self._files.open, run.id, run.entries)
        if mapped is not None:
            return mapped
        _log.info("run %s of lane %d, %d ids, is read from the store", run.id.hex, run.lane, run.entries)
        writer = await asyncio.to_thread(self._files.writer, run.id, run.entries)
        written = 0
        async for piece in runs.read_large(tx, run):
            await asyncio.to_thread(writer.write, piece)
            written += len(piece)
        _require_whole(run, written)
        return await asyncio.to_thread(writer.finish)


def _leave_out(asked: Columns, before: Mapping[bytes, int], is_fresh: Mask, known: dict[bytes, int]) -> None:
    for place, key in enumerate(asked.keys()):
        if key in before:
            is_fresh[place] = False
            known[key] = before[key]


def _require_whole(run: Run, entries: int) -> None:
    if entries != run.entries:  # it was merged or forgotten while it was read
        raise Unavailable(f"run {run.id.hex} has {run.entries} ids, {entries} of them could be read")
