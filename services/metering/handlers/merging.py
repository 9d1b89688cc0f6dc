"""Merging runs of ids in the background, in small steps, so that a batch looks into few; and moving the ids of before.

    begin the run -> write its entries, slice by slice -> put it in the place of its inputs

Each step is a transaction of its own under the owner epoch. What is written is seen by nobody until the last of them,
so batches go on meanwhile, and a death in between leaves the inputs as they were. The next owner gives the rest up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from libs.bus.offsets import NotOwner, hold_ownership
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, Tx, transaction
from services.metering import metrics
from services.metering.domain.lanes import Lane, Part
from services.metering.domain.runs import Columns, merge, slices
from services.metering.domain.tiers import SMALL_ENTRIES, due
from services.metering.handlers.known_ids import KnownIds, Lead
from services.metering.handlers.reading import SHARDS_CONSUMER
from services.metering.store import ids_of_before, runs
from services.metering.store.run_files import Mapped, NoFile, RunFiles, RunWriter
from services.metering.store.runs import Run

SLICE_ENTRIES: Final = 32_768  # of one step: 1 MB is written, in some tens of milliseconds
MOVED_ENTRIES: Final = 20_000  # ids of before in one transaction: their lane waits for it


class Merger:
    """Keeps the lanes that are ours in few runs."""

    def __init__(self, known: KnownIds, pool: Pool, files: RunFiles) -> None:
        """Merge what `known` knows; large runs become `files`."""
        self._known = known
        self._pool = pool
        self._files = files

    async def turn(self) -> bool:
        """Make one run of some, or move one lot of ids of before; return whether there was anything to do."""
        for lane, lead in self._known.led():
            if parts := due(lane.parts) if lane.is_known else []:
                await self._merge(lane, lead, parts)
                return True
        for lane, lead in self._known.led():
            if self._known.may_be_of_before() and await self._move(lane, lead):
                return True
        return False

    async def _merge(self, lane: Lane, lead: Lead, parts: Sequence[Part]) -> None:
        entries, kept_from_us = sum(one.entries for one in parts), max(one.kept_from_us for one in parts)
        run = Run(runs.new_id(lane.number, lane.seq), lane.number, entries, kept_from_us)
        inputs = frozenset().union(*(one.runs for one in parts))
        lane.merging = inputs
        try:
            async with self._owning(lead) as tx:
                await runs.begin(tx, run)
            part = await self._written(run, [one.columns for one in parts])
            async with self._owning(lead) as tx:
                await runs.replace(tx, inputs, run.id)
            lane.replace(inputs, part)
            await asyncio.to_thread(self._files.remove, inputs)
        except (Unavailable, NoFile, OSError) as error:
            lane.is_known = False  # the last of these may be committed all the same
            raise Unavailable(f"runs of lane {lane.number} could not be merged: {error}") from error
        finally:
            lane.merging = frozenset()
        metrics.IDS_MERGED.add(entries)

    async def _written(self, run: Run, inputs: Sequence[Columns]) -> Part:
        if run.entries < SMALL_ENTRIES:
            columns = await asyncio.to_thread(merge, inputs)
            await self._write(run, columns)
            return Part(columns, frozenset([run.id]), run.kept_from_us)
        writer = await asyncio.to_thread(self._files.writer, run.id, run.entries)
        try:
            mapped = await self._write_file(run, inputs, writer)
        except BaseException:
            writer.give_up()
            raise
        return Part(mapped.columns, frozenset([run.id]), run.kept_from_us, mapped.words)

    async def _write_file(self, run: Run, inputs: Sequence[Columns], writer: RunWriter) -> Mapped:
        for piece in slices(inputs, SLICE_ENTRIES):
            columns = await asyncio.to_thread(merge, piece)
            await self._write(run, columns)
            await asyncio.to_thread(writer.write, columns)
        return await asyncio.to_thread(writer.finish)

    async def _write(self, run: Run, columns: Columns) -> None:
        async with transaction(self._pool) as tx:
            await runs.hold_begun(tx, run.id)
            await runs.add_chunks(tx, {run.id: columns})

    async def _move(self, lane: Lane, lead: Lead) -> bool:
        async with self._owning(lead) as tx:
            taken = await ids_of_before.take_out(tx, lane.number, MOVED_ENTRIES)
            if taken is None:
                return False
            columns, kept_from_us = taken
            lane.is_known = False  # batches add nothing to the lane before they have read this
            seqs = await runs.sequences(tx, [lane.number])
            run = Run(runs.new_id(lane.number, seqs[lane.number]), lane.number, len(columns), kept_from_us)
            if await runs.add(tx, {run: columns}, seqs):
                raise Unavailable("a batch has added to the lane meanwhile")
        return True

    @asynccontextmanager
    async def _owning(self, lead: Lead) -> AsyncIterator[Tx]:
        """A transaction in which the partition stays ours; Unavailable where it is not ours any more."""
        try:
            async with transaction(self._pool) as tx:
                await hold_ownership(tx, SHARDS_CONSUMER, lead.source.partition, lead.owned)
                yield tx
        except NotOwner as error:
            raise Unavailable(str(error)) from error
