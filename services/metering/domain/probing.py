"""Looking keys up in a run: a filter that skips most of what is not there, and the comparison that decides.

The filter is a blocked Bloom filter (Putze, Sanders, Singler 2007) whose blocks are words: a key sets a few bits of one
of 64. It only skips: whatever it lets through is compared in full, so it can cost time and never an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from services.metering.domain.runs import Columns, Halves, Places

BITS_A_KEY: Final = 12  # of 100 keys that are not there, one or two are let through
_BITS_SET: Final = 4
_WORD: Final = 64
_IN_WORD: Final = np.uint64(63)
_ONE: Final = np.uint64(1)
_TOP: Final = np.uint64(32)


def words_for(entries: int) -> int:
    """Return how many words the filter of so many entries has."""
    return max(1, -(-entries * BITS_A_KEY // _WORD))


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What a filter asks of keys, the same for every filter: the bits of the word, and what the word's place is of."""

    masks: Halves
    tops: Halves

    def at(self, places: Places) -> Marks:
        """Return the marks at these places."""
        return Marks(self.masks[places], self.tops[places])

    def part(self, start: int, end: int) -> Marks:
        """Return the marks [start, end), without copying them."""
        return Marks(self.masks[start:end], self.tops[start:end])


def marks_of(low: Halves) -> Marks:
    """Return the marks of keys with these low halves. Keys are keyed hashes: any bits of theirs do."""
    masks = np.zeros(len(low), np.uint64)
    for turn in range(_BITS_SET):
        masks |= _ONE << ((low >> np.uint64(6 * turn)) & _IN_WORD)
    return Marks(masks, low >> _TOP)


def mark(words: Halves, marks: Marks) -> None:
    """Add keys to a filter that is being made."""
    np.bitwise_or.at(words, _places(words, marks), marks.masks)


def may_hold(words: Halves, marks: Marks) -> Places:
    """Return the places of those keys that the filter does not rule out."""
    masks = marks.masks
    return np.flatnonzero((words[_places(words, marks)] & masks) == masks)


def _places(words: Halves, marks: Marks) -> Places:
    return ((marks.tops * np.uint64(len(words))) >> _TOP).astype(np.intp)


def find(run: Columns, high: Halves, low: Halves) -> tuple[Places, Places]:
    """Return (which of the keys, where in the run) of all that are in it, for keys given by their halves."""
    nothing = np.empty(0, np.intp)
    if not len(run) or not len(high):
        return nothing, nothing
    where = np.searchsorted(run.high, high)
    where[where == len(run)] = 0  # beyond the last entry: the first is not equal either
    asked = np.flatnonzero(run.high[where] == high)
    if not len(asked):
        return nothing, nothing
    where = where[asked]
    is_it = run.low[where] == low[asked]
    for place in np.flatnonzero(~is_it):  # keys that share their high half: once in a long while
        where[place] = _walk(run, int(where[place]), low[asked[place]])
        is_it[place] = run.low[where[place]] == low[asked[place]]
    return asked[is_it], where[is_it]


def _walk(run: Columns, place: int, low: np.uint64) -> int:
    high = run.high[place]
    while place + 1 < len(run) and run.high[place + 1] == high and run.low[place] < low:
        place += 1
    return place
