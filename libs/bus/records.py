"""What travels on a topic: records as they were read, messages as they are to be written."""

from __future__ import annotations

from dataclasses import dataclass

Headers = tuple[tuple[str, bytes | None], ...]  # Kafka lets a header have no value; none of ours is without


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    """One partition of one topic. Ordered, so that rows are locked in the same order everywhere."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies in the log. `appended_at_ms` is the broker's append time, milliseconds since 1970 UTC."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    appended_at_ms: int

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
