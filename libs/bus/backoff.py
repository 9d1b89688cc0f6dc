"""How long to wait before trying again: doubling, bounded, and spread so that many do not come back at once."""

from __future__ import annotations

from random import Random
from typing import Final

FIRST_S: Final = 0.05
LONGEST_S: Final = 5.0  # an outage is noticed to be over within this


class Backoff:
    """Half of a doubling bound, and a random share of the other half ("equal jitter")."""

    def __init__(self, random: Random, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        """Take the source of randomness and the two bounds, seconds."""
        self._random = random
        self._first_s = first_s
        self._longest_s = longest_s
        self._bound_s = first_s

    def next_s(self) -> float:
        """Return the seconds to wait now, and double the bound of the next wait."""
        bound_s, self._bound_s = self._bound_s, min(self._bound_s * 2, self._longest_s)
        return bound_s * (0.5 + self._random.random() / 2)

    def reset(self) -> None:
        """Start over: it worked."""
        self._bound_s = self._first_s
