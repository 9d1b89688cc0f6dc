"""When a part that died is started again, and when it is given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Bounded exponential backoff over the deaths of the last `window_s` seconds.

    A part that never answered gets fewer chances: its cause is likely in its settings and will not pass by itself.
    """

    first_delay_s: float = 0.2  # a killed service is back before a person notices
    longest_delay_s: float = 10.0
    window_s: float = 60.0
    deaths_before_ready: int = 3
    deaths_after_ready: int = 8  # with the delays below they fill the window: more would be a crash loop

    def recent(self, deaths: Sequence[float], now: float) -> list[float]:
        """The deaths that still count at `now` (seconds of one monotonic clock)."""
        return [death for death in deaths if now - death < self.window_s]

    def delay(self, death_count: int, *, was_ready: bool) -> float | None:
        """Seconds to wait before the next start after `death_count` recent deaths, or None to give up."""
        if death_count >= (self.deaths_after_ready if was_ready else self.deaths_before_ready):
            return None
        return min(self.first_delay_s * 2.0 ** (death_count - 1), self.longest_delay_s)
