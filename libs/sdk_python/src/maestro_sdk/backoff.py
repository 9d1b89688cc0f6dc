"""How long to wait before a retry: exponential with full jitter, and never less than the server asked for.

Source: RFC 9110, section 10.2.3 (Retry-After); "full jitter" spreads the clients of one outage over the whole pause.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

_MAX_DOUBLINGS: Final = 30  # beyond it every pause is the longest, and the power would only grow


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses of up to `first_s`, doubling to at most `longest_s`. `chance` returns numbers in [0, 1)."""

    first_s: float = 0.1
    longest_s: float = 10.0
    chance: Callable[[], float] = field(default=random.SystemRandom().random, repr=False)

    def pause_s(self, attempt: int, asked_s: float) -> float:
        """Return the pause after the failed `attempt` (0 is the first), at least `asked_s`."""
        ceiling_s = min(self.longest_s, self.first_s * float(2 ** min(attempt, _MAX_DOUBLINGS)))
        return asked_s + self.chance() * ceiling_s


def asked_pause_s(headers: Mapping[str, str], now: datetime) -> float:
    """Return the seconds that Retry-After asks for, as a number or as a date; 0 where it asks for nothing sensible."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (TypeError, ValueError):
        return 0.0
