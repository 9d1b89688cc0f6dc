"""Ids that stand before a measurement begins, written to the store as runs by the service's own code."""

from __future__ import annotations

import time

import numpy as np

from libs.store.pool import Pool, transaction
from services.metering.domain.runs import LANE_SHIFT, LANES, Columns
from services.metering.store import runs
from services.metering.store.runs import Run

RUN_ENTRIES = 2_097_152  # what merging makes of eight times eight runs of 32,768
SLICE_ENTRIES = 131_072


async def load_ids(pool: Pool, count: int, seed: int) -> None:
    """Let `count` ids stand, evenly over the lanes, as merging leaves them. Their keys come from the seed."""
    random = np.random.default_rng(seed)
    for lane in range(LANES):
        left = count // LANES
        while left:
            entries = min(left, RUN_ENTRIES)
            await _load_run(pool, lane, entries, random)
            left -= entries


async def _load_run(pool: Pool, lane: int, entries: int, random: np.random.Generator) -> None:
    run = Run(runs.new_id(lane, 1), lane, entries, time.time_ns() // 1000)
    high = np.sort(random.integers(0, 1 << 61, entries, np.uint64)) | (np.uint64(lane) << LANE_SHIFT)
    low = random.integers(0, 1 << 64, entries, np.uint64)
    columns = Columns(high, low, low.view(np.int64), np.full(entries, run.kept_from_us, np.int64))
    async with transaction(pool) as tx:
        await runs.begin(tx, run)
    for start in range(0, entries, SLICE_ENTRIES):
        async with transaction(pool) as tx:
            await runs.hold_begun(tx, run.id)
            await runs.add_chunks(tx, {run.id: columns.part(start, start + SLICE_ENTRIES)})
    async with transaction(pool) as tx:
        await runs.replace(tx, [], run.id)
