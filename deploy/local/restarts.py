"""When a part that died is started again, and when it is given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Death:
    """When a process ended (seconds of one monotonic clock), and whether it had answered before."""

    at: float
    was_ready: bool


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Bounded exponential backoff over the deaths of the last `window_s` seconds.

    A part that does not come to answer gets fewer chances: its cause is likely in its settings and will not pass by
    itself. One that answered has shown that its settings are right: its deaths until then do not count among those.
    """

    first_delay_s: float = 0.2  # a killed service is back before a person notices
    longest_delay_s: float = 10.0
    window_s: float = 60.0
    deaths_before_ready: int = 3
    deaths_after_ready: int = 8  # with the delays below they fill the window: more would be a crash loop

    def recent(self, deaths: Sequence[Death], now: float) -> list[Death]:
        """The deaths that still count at `now`."""
        return [death for death in deaths if now - death.at < self.window_s]

    def delay(self, deaths: Sequence[Death]) -> float | None:
        """Seconds to wait before the next start after these recent deaths, oldest first, or None to give up."""
        if len(deaths) >= self.deaths_after_ready or _since_ready(deaths) >= self.deaths_before_ready:
            return None
        return min(self.first_delay_s * 2.0 ** (len(deaths) - 1), self.longest_delay_s)


def _since_ready(deaths: Sequence[Death]) -> int:
    """How many deaths there were, up to the last one, of processes that did not come to answer."""
    count = 0
    for death in reversed(deaths):
        if death.was_ready:
            break
        count += 1
    return count
