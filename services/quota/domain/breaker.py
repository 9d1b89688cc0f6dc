"""When to leave a store alone that does not answer: a circuit breaker as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

FAILURES_TO_OPEN: Final = 3  # one slow answer is a hiccup; three in a row are an outage
OPEN_S: Final = 0.25  # four probes a second find a recovered store at once and cost a dead one nothing


@dataclass(frozen=True, slots=True)
class Breaker:
    """Consecutive failures, and until when (monotonic seconds) nobody may ask."""

    failures: int = 0
    closed_from_s: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the store counts as down."""
        return self.failures >= FAILURES_TO_OPEN

    def ask(self, now_s: float) -> Breaker | None:
        """Return the breaker to go on with if this caller may ask the store, None if it must not.

        While open, one caller in OPEN_S may: the rest is refused without waiting, also while that one waits.
        """
        if not self.is_open:
            return self
        return None if now_s < self.closed_from_s else replace(self, closed_from_s=now_s + OPEN_S)

    def after_failure(self, now_s: float) -> Breaker:
        """Return the breaker after an answer that did not come."""
        return Breaker(self.failures + 1, now_s + OPEN_S)

    def after_success(self) -> Breaker:
        """Return the breaker after an answer that came."""
        return Breaker()
