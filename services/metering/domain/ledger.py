"""What one process wrote to a topic and nobody has handled yet, by tenant: counted in events, settled by offsets.

Publications do not say at which offsets they lie. But what was acknowledged before the topic's ends were asked for lies
before these ends, and is handled once all of them are passed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from services.metering.domain.closing import has_counted


@dataclass(slots=True)
class _Page:
    """What was acknowledged up to `cut_at_s`; `ends` are the topic's at some instant after it, once they are known."""

    counts: Counter[str]
    cut_at_s: float
    ends: Mapping[int, int] | None = None


class Ledger:
    """Times are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        """Nothing is open."""
        self.open: Counter[str] = Counter()
        self.total = 0
        self._current: Counter[str] = Counter()
        self._pages: deque[_Page] = deque()

    def begin(self, tenant_id: str, count: int) -> None:
        """Open `count` events that are about to be published."""
        self.open[tenant_id] += count
        self.total += count

    def acknowledge(self, tenant_id: str, count: int) -> None:
        """Take down that their publication ended, well or not: what of them is durable lies before ends asked later."""
        self._current[tenant_id] += count

    def cut(self, now_s: float) -> None:
        """Begin a new page. Ends that are asked for from now on hold for all pages before it."""
        if self._current:
            self._pages.append(_Page(self._current, now_s))
            self._current = Counter()

    def settle(self, ends: Mapping[int, int], reached: Mapping[int, int]) -> float | None:
        """Close what is handled; return when the youngest page that was closed had been cut, None where none was.

        `ends` were asked for after the last `cut`; `reached` is how far the topic is handled, partition by partition.
        """
        cut_at_s = None
        for page in self._pages:
            page.ends = ends if page.ends is None else page.ends
        while self._pages and has_counted(reached, self._pages[0].ends or ends):
            page = self._pages.popleft()
            self.open -= page.counts  # drops who has nothing open
            self.total -= page.counts.total()
            cut_at_s = page.cut_at_s
        return cut_at_s

    def oldest_s(self) -> float | None:
        """Return when the oldest page that is not handled was cut."""
        return self._pages[0].cut_at_s if self._pages else None
