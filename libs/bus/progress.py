"""How far a consumer is: its lag in records, and the instant up to which everything appended is in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.bus.offsets import Owned
from libs.bus.ports import Offsets, Seen
from libs.bus.records import TopicPartition
from libs.schemas.values import from_microseconds

SKEW_BOUND_MS: Final = 1_000  # how far our clock and a broker's may stand apart; hosts that keep time are within 0.1 s


@dataclass(slots=True)
class _Partition:
    position: int
    appended_at_ms: int | None
    end: int | None = None
    seen_at_ms: int = 0

    def complete_to_ms(self) -> int | None:
        """Milliseconds since 1970 up to which this partition is written, None where that is not known yet."""
        if self.end is not None and self.position >= self.end:
            return self.seen_at_ms - SKEW_BOUND_MS
        return self.appended_at_ms


class Progress:
    """Kept by the consumer, read by metrics, health and watermarks. Knows the partitions of this process only."""

    def __init__(self) -> None:
        """Own nothing."""
        self._partitions: dict[TopicPartition, _Partition] = {}

    def own(self, owned: Mapping[TopicPartition, Owned]) -> None:
        """Start over with these partitions."""
        self._partitions = {one: _Partition(mine.next, mine.appended_at_ms) for one, mine in owned.items()}

    def note(self, owned: Mapping[TopicPartition, Owned], idle: Offsets, seen: Mapping[TopicPartition, Seen]) -> None:
        """Take in what is written, where reading stands on partitions that had no records, and the last answers."""
        for source, partition in self._partitions.items():
            mine = owned[source]
            partition.position = max(mine.next, idle.get(source, 0))
            partition.appended_at_ms = mine.appended_at_ms
            if source in seen:
                partition.end, partition.seen_at_ms = seen[source].end, seen[source].at_ms

    def lag(self) -> dict[TopicPartition, int]:
        """Return how many offsets of each partition are not written yet, as of the broker's last answer."""
        return {
            source: max(0, one.end - one.position) for source, one in self._partitions.items() if one.end is not None
        }

    def watermark(self) -> datetime | None:
        """Return the instant up to which all that was appended is written; None where that is not known."""
        marks = [one.complete_to_ms() for one in self._partitions.values()]
        known = [mark for mark in marks if mark is not None]
        if not marks or len(known) < len(marks):
            return None
        return from_microseconds(min(known) * 1000)
