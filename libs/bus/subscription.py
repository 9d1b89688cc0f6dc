"""Who consumes what, and the two ways in which that can stop short of an outage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from libs.bus.records import Record, TopicPartition
from libs.runtime.errors import Broken

MAX_RECORDS: Final = 500  # of one batch of events: its transaction stays within tens of milliseconds


@dataclass(frozen=True, slots=True)
class Subscription:
    """`instance` is the static member id: the same after a restart, another for every process of the service."""

    service: str
    purpose: str
    topics: tuple[str, ...]
    instance: str
    max_records: int = MAX_RECORDS

    @property
    def consumer(self) -> str:
        """The name that offsets are stored under."""
        return f"{self.service}.{self.purpose}"

    @property
    def group(self) -> str:
        """The Kafka consumer group."""
        return group_of(self.consumer)


def group_of(consumer: str) -> str:
    """Return the Kafka consumer group of `consumer`, named <service>.<purpose>."""
    return f"maestro.{consumer}"


class PoisonRecord(Exception):
    """A handler says: this one record cannot be taken, the others can."""

    def __init__(self, record: Record, reason: str) -> None:
        """Name the record and say why; the reason goes with it to the dead letter topic."""
        super().__init__(f"{record.source} at {record.offset}: {reason}")
        self.record = record
        self.reason = reason


class OffsetLost(Broken):
    """What is stored does not fit the log: retention, truncation, or a topic made again. Only an operator may jump."""

    code = "offset_lost"
    title = "The stored offset does not fit the log"


def offset_lost(of: Subscription, source: TopicPartition, why: str) -> OffsetLost:
    """Return the error that stops `of` at `source` and names the operator's verb."""
    return OffsetLost(
        f"{of.consumer} stops at {source}: {why}. Decide what may be skipped or repeated, then run `maestro bus "
        f"reset-offset --service {of.service} --consumer {of.consumer} --topic {source.topic} "
        f"--partition {source.partition} --to earliest|latest|N`"
    )
