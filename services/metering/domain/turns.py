"""In which order what waits is passed on: by turns, tenant by tenant, each as much as its weight says.

Deficit round robin (Shreedhar and Varghese, 1996): what is left of a turn is carried to the tenant's next one, so that
lots of any size come out fairly.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from services.metering.domain.events import UsageEvent

QUANTUM_EVENTS: Final = 1_000  # of a turn of weight 1: what one publication carries at no more cost than a few

Lot = Sequence[UsageEvent]
"""Events of one tenant that are passed on together."""


class Turns:
    """Lots that wait, by tenant; within a tenant in the order in which they came."""

    def __init__(self, weight: Callable[[str], int]) -> None:
        """Hold nothing."""
        self._weight = weight
        self._lots: dict[str, deque[Lot]] = {}
        self._deficits: Counter[str] = Counter()

    def __bool__(self) -> bool:
        """Return whether anything waits."""
        return bool(self._lots)

    def add(self, lot: Lot) -> None:
        """Have a lot wait behind its tenant's others."""
        if lot:
            self._lots.setdefault(lot[0].tenant_id, deque()).append(lot)

    def next(self, may: Callable[[str, int], bool]) -> list[Lot]:
        """Give every tenant one turn; return what goes now. `may(tenant, events)` is asked for each lot that would."""
        going: list[Lot] = []
        for tenant_id, lots in list(self._lots.items()):
            self._deficits[tenant_id] += QUANTUM_EVENTS * self._weight(tenant_id)
            while lots and len(lots[0]) <= self._deficits[tenant_id] and may(tenant_id, len(lots[0])):
                self._deficits[tenant_id] -= len(lots[0])
                going.append(lots.popleft())
            # Whom its share held back gathers no more than a turn meanwhile: else it would come as a flood.
            most = QUANTUM_EVENTS * self._weight(tenant_id)
            self._deficits[tenant_id] = min(self._deficits[tenant_id], max(most, len(lots[0]) if lots else 0))
            if not lots:
                del self._lots[tenant_id], self._deficits[tenant_id]
        return going
