"""Which usage goes to owners at once, and which has to wait on usage-overflow: decided from its writer's accounts.

What waits for owners is bounded before it is written, not once it is seen to lag: a flood of ten times what owners
count would have put ten seconds of work in front of everybody within the first second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from services.metering.domain.fairness import Bound, level
from services.metering.domain.ledger import Ledger

STALE: Final = 0.1  # the share is worked out anew once so much of the bound was written since
PRESSED: Final = 0.25  # of the bound: from there on owners are looked at more often
DIRECT_PART: Final = 0.5  # of the bound is what new usage may fill while older usage waits on usage-overflow


def overflow_partition_of(tenant_id: str, partitions: int) -> int:
    """Return the partition of usage-overflow that holds all that is diverted of a tenant."""
    return crc32(tenant_id.encode()) % partitions


@dataclass(frozen=True, slots=True)
class Lags:
    """How far two topics are handled, by all processes: where their partitions end, and where their readers are."""

    shard_ends: Mapping[int, int]
    counted: Mapping[int, int]
    overflow_ends: Mapping[int, int]
    forwarded: Mapping[int, int]


class Accounts:
    """The accounts of one process. `weights` are those of tenants that have another than 1."""

    def __init__(self, *, first: int, most_diverted: int, weights: Mapping[str, int], is_fair: bool = True) -> None:
        """Owe nothing. `first`: see Bound; `most_diverted`: events that one tenant may have on usage-overflow.

        Without `is_fair` nothing is held back: what lies on usage-overflow is forwarded as fast as that goes.
        """
        self._is_fair = is_fair
        self.bound = Bound(first)
        self.waited_s = 0.0
        self.weights = weights
        self._most_diverted = most_diverted
        self._shards = Ledger()
        self._overflow: dict[int, Ledger] = {}
        self._diverted: Counter[str] = Counter()
        self._overflow_waits = False
        self._level = 0.0
        self._levelled_at = -1

    def weight(self, tenant_id: str) -> int:
        """Return the tenant's weight."""
        return self.weights.get(tenant_id, 1)

    def take(self, tenant_id: str, count: int, *, has_waited: bool = False) -> bool:
        """Return whether `count` more events may be written to usage-shards now; if so, they are open from here on.

        They may where there is room, or where the tenant stays within its share. What `has_waited` on usage-overflow
        has room that new usage may not fill, and always gets in once nothing else is under way.
        """
        total = self._shards.total + count
        part = DIRECT_PART if self._overflow_waits and not has_waited else 1.0
        is_free = not self._is_fair or total <= self.bound.events * part or (has_waited and total == count)
        if not is_free and self._shards.open[tenant_id] + count > self._share() * self.weight(tenant_id):
            return False
        self._shards.begin(tenant_id, count)
        return True

    def divert(self, tenant_id: str, count: int, partitions: int) -> None:
        """Open `count` events that are about to be written to usage-overflow, which has so many partitions."""
        place = overflow_partition_of(tenant_id, partitions)
        self._overflow.setdefault(place, Ledger()).begin(tenant_id, count)
        self._diverted[tenant_id] += count

    def acknowledge(self, written: Mapping[str, int], diverted: Mapping[str, int], partitions: int) -> None:
        """Take down that a publication ended, well or not."""
        for tenant_id, count in written.items():
            self._shards.acknowledge(tenant_id, count)
        for tenant_id, count in diverted.items():
            self._overflow[overflow_partition_of(tenant_id, partitions)].acknowledge(tenant_id, count)

    def has_too_much(self, tenant_id: str) -> bool:
        """Return whether so much of the tenant lies on usage-overflow that it has to come back with more."""
        return self._diverted[tenant_id] >= self._most_diverted

    def has_diverted(self) -> bool:
        """Return whether anything that this process wrote lies on usage-overflow."""
        return bool(self._diverted)

    def diverted_tenants(self) -> list[str]:
        """Return whose usage lies on usage-overflow, as far as this process wrote it."""
        return sorted(self._diverted)

    @property
    def waiting(self) -> int:
        """How many events this process wrote to usage-shards that are not counted, as far as it knows."""
        return self._shards.total

    def is_idle(self) -> bool:
        """Return whether all that this process wrote is handled."""
        return not self._shards.total and not self._overflow

    def is_pressed(self) -> bool:
        """Return whether room may be short soon, or usage waits for it."""
        return self._shards.total > self.bound.events * PRESSED or bool(self._overflow) or self._overflow_waits

    def rest(self, now_s: float) -> None:
        """Let the bound fade while the accounts are idle."""
        self.waited_s, self._overflow_waits = 0.0, False
        self.bound.adjust(now_s, 0.0, 0, has_moved=False)

    def cut(self, now_s: float) -> None:
        """Begin new pages; `lags` of `settle` are asked for after it."""
        self._shards.cut(now_s)
        for ledger in self._overflow.values():
            ledger.cut(now_s)

    def settle(self, lags: Lags, now_s: float) -> None:
        """Close what is handled, and move the bound."""
        closed_at_s = self._shards.settle(lags.shard_ends, lags.counted)
        oldest_s = self._shards.oldest_s()
        since_s = oldest_s if closed_at_s is None else closed_at_s
        self.waited_s = 0.0 if since_s is None else now_s - since_s
        for place, ledger in list(self._overflow.items()):
            ends = {place: lags.overflow_ends.get(place, 0)}
            ledger.settle(ends, lags.forwarded)
            if not ledger.total:
                del self._overflow[place]
        self._diverted = Counter()
        for ledger in self._overflow.values():
            self._diverted.update(ledger.open)
        self._overflow_waits = any(lags.forwarded.get(one, 0) < end for one, end in lags.overflow_ends.items())
        self.bound.adjust(now_s, self.waited_s, self._shards.total, has_moved=closed_at_s is not None)
        self._levelled_at = -1

    def _share(self) -> float:
        total = self._shards.total
        if self._levelled_at < 0 or total >= self._levelled_at + self.bound.events * STALE:
            wanted = self._shards.open + self._diverted
            demands = [(count, self.weight(tenant_id)) for tenant_id, count in wanted.items()]
            self._level, self._levelled_at = level(demands, self.bound.events), total
        return self._level
