"""Entries of events that stand, as sorted columns: what a run of ids is made of (docs/decisions/0013-runs-of-ids.md).

An entry is the 128-bit key as two halves, the 64-bit digest of the body, and the event's time. A run is sorted by key.
Nothing here is ever changed: runs are made, looked into, merged into new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Halves = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

LANES: Final = 8  # fixed for good: an eighth of all keys each, by their first bits
LANE_SHIFT: Final = np.uint64(61)  # of the high half: 64 less the three bits that name a lane
ENTRY: Final = np.dtype([("high", ">u8"), ("low", ">u8"), ("digest", ">i8"), ("time_us", ">i8")])
ENTRY_BYTES: Final = ENTRY.itemsize


def lane_of(key: bytes) -> int:
    """Return the lane of a key, 0 to LANES - 1. A lane holds neighbouring shards, so it lies in one partition of 8."""
    return key[0] * LANES // 256


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Entries by ascending key; all four have one length, the digest and time of an entry stand at its place."""

    high: Halves
    low: Halves
    digests: Numbers
    times_us: Numbers

    def __len__(self) -> int:
        return len(self.high)

    def part(self, start: int, end: int) -> Columns:
        """Return the entries [start, end), without copying them."""
        return Columns(self.high[start:end], self.low[start:end], self.digests[start:end], self.times_us[start:end])

    def at(self, places: Places | Mask) -> Columns:
        """Return the entries at these places, in this order, or where the mask holds."""
        return Columns(self.high[places], self.low[places], self.digests[places], self.times_us[places])

    def keys(self) -> list[bytes]:
        """Return the keys as bytes."""
        packed = pack(self)
        return [packed[start : start + 16] for start in range(0, len(packed), ENTRY_BYTES)]


def columns_of(keys: Sequence[bytes], digests: Sequence[int], times_us: Sequence[int]) -> Columns:
    """Return these entries (keys of 16 bytes) sorted by key."""
    halves = np.frombuffer(bytearray().join(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    columns = Columns(
        np.ascontiguousarray(halves[:, 0]),
        np.ascontiguousarray(halves[:, 1]),
        np.array(digests, dtype=np.int64),
        np.array(times_us, dtype=np.int64),
    )
    return _sorted(columns)


def merge(inputs: Sequence[Columns]) -> Columns:
    """Return the entries of all inputs as one, sorted by key."""
    if len(inputs) == 1:
        return inputs[0]
    joined = Columns(
        np.concatenate([one.high for one in inputs]),
        np.concatenate([one.low for one in inputs]),
        np.concatenate([one.digests for one in inputs]),
        np.concatenate([one.times_us for one in inputs]),
    )
    return _sorted(joined)


def _sorted(columns: Columns) -> Columns:
    if not len(columns):
        return columns
    order = np.argsort(columns.high, kind="stable")  # of inputs that are sorted: it finds them and merges
    high = columns.high[order]
    if bool((high[1:] == high[:-1]).any()):
        order = np.lexsort((columns.low, columns.high))
    return columns.at(order)


def slices(inputs: Sequence[Columns], entries: int) -> Iterator[list[Columns]]:
    """Yield the inputs in slices of about `entries` entries, by ascending key: merged one by one they are all merged.

    Keys are hashes, so the bounds that part the largest input evenly part the others about evenly too.
    """
    inputs = [one for one in inputs if len(one)]
    if not inputs:
        return
    largest = max(inputs, key=len)
    count = -(-sum(map(len, inputs)) // entries)
    step = max(1, -(-len(largest) // count))
    bounds = np.unique(largest.high[step::step])
    cuts = [[0, *np.searchsorted(one.high, bounds).tolist(), len(one)] for one in inputs]
    for number in range(len(bounds) + 1):
        yield [one.part(cut[number], cut[number + 1]) for one, cut in zip(inputs, cuts, strict=True)]


def pack(columns: Columns) -> bytes:
    """Return the entries as the store keeps them: ENTRY_BYTES each, big-endian, one after the other."""
    packed = np.empty(len(columns), ENTRY)
    packed["high"], packed["low"] = columns.high, columns.low
    packed["digest"], packed["time_us"] = columns.digests, columns.times_us
    return packed.tobytes()


def unpack(packed: bytes) -> Columns:
    """Return the entries that `pack` wrote."""
    entries = np.frombuffer(packed, ENTRY)
    return Columns(
        entries["high"].astype(np.uint64),
        entries["low"].astype(np.uint64),
        entries["digest"].astype(np.int64),
        entries["time_us"].astype(np.int64),
    )


def lane_bounds(columns: Columns) -> list[int]:
    """Return LANES + 1 places: the entries of lane n are [bounds[n], bounds[n + 1])."""
    starts = np.arange(1, LANES, dtype=np.uint64) << LANE_SHIFT
    return [0, *np.searchsorted(columns.high, starts).tolist(), len(columns)]
