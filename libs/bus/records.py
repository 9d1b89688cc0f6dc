"""What travels on a topic: records as they were read, messages as they are to be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

Headers = tuple[tuple[str, bytes | None], ...]  # Kafka lets a header have no value; none of ours is without


MAX_HEADERS: Final = 1_024  # of one record; each costs a hundred bytes of memory, also an empty one


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    """One partition of one topic. Ordered, so that rows are locked in the same order everywhere."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it lies in the log. `appended_at_ms` is the broker's append time, milliseconds since 1970 UTC.

    `unread` says what kept it from being read whole, if anything did: such a record is to be set aside by reference.
    It may stand for a whole batch, and then has neither key nor value.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    appended_at_ms: int
    unread: str | None = None

    @property
    def source(self) -> TopicPartition:
        """Where it lies."""
        return TopicPartition(self.topic, self.partition)

    def header(self, name: str) -> bytes | None:
        """Return the value of the first header called `name`, None without one (or where it has no value)."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish. Without `partition` the key decides, as Kafka's default partitioner does."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
