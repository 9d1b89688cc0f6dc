"""Who may put how much in front of everybody else: weighted max-min shares, and the bound that they are shares of.

Max-min: who wants less than its share gets all that it wants, and what it leaves is shared among those who want more
(Bertsekas and Gallager, Data Networks, 6.5.2; "water filling"). The bound follows the delay that is seen: up by a
quarter, down by three tenths (Chiu and Jain, 1989), and it fades while it is not used (RFC 7661).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

DELAY_S: Final = 1.0  # what is written may wait so long for its owner before there is too much of it
QUICK_S: Final = 0.8  # where it waits no longer there may be more of it
GROWTH: Final = 1.25
CUT: Final = 0.7
FADE: Final = 0.95
LEAST_EVENTS: Final = 200  # however slow owners are: one small request
MOST_EVENTS: Final = 1_000_000


def level(demands: Iterable[tuple[float, float]], capacity: float) -> float:
    """Return what a tenant of weight 1 may have, so that all have `capacity` at most: (wanted, weight) of each.

    One more tenant of weight 1, who wants everything, is thought of: what it gets is there for whoever comes next.
    """
    left, weights = capacity, 1.0
    ordered = sorted(((wanted / weight, wanted, weight) for wanted, weight in demands), reverse=True)
    weights += sum(weight for _, _, weight in ordered)
    while ordered:
        of_one, wanted, weight = ordered.pop()  # the most modest of those that are left
        if of_one * weights >= left:
            break
        left -= wanted
        weights -= weight
    return left / weights


@dataclass(slots=True)
class Bound:
    """How many events of a process may wait for their owners, so that none waits much longer than DELAY_S."""

    first: int
    events: float = 0.0
    _cut_at_s: float = 0.0

    def __post_init__(self) -> None:
        """Begin with `first`, before anything is known of the owners."""
        self.events = float(self.first)

    def adjust(self, now_s: float, waited_s: float, waiting: int, *, has_moved: bool) -> None:
        """Follow what was seen: how long events waited, how many do, and whether owners counted any since."""
        if waited_s > DELAY_S:
            if now_s >= self._cut_at_s + DELAY_S:  # the cut before must have had time to show
                self.events, self._cut_at_s = max(min(LEAST_EVENTS, self.events), self.events * CUT), now_s
        elif has_moved and waited_s <= QUICK_S and waiting >= self.events / 2:
            self.events = min(MOST_EVENTS, self.events * GROWTH)
        elif waiting < self.events / 4:
            self.events = max(min(self.first, self.events), self.events * FADE)
