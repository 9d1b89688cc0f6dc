"""Who consumes what, and the two ways in which that can stop short of an outage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from libs.bus.records import Record, TopicPartition
from libs.runtime.errors import Broken, Rejected

MAX_RECORDS: Final = 500  # of one batch of events: its transaction stays within tens of milliseconds


@dataclass(frozen=True, slots=True)
class Subscription:
    """`instance` is the static member id: the same after a restart, another for every process of the service.

    `kept_in` says where its offsets lie: in the service's store, or, of a consumer without one, in the broker.
    """

    service: str
    purpose: str
    topics: tuple[str, ...]
    instance: str
    max_records: int = MAX_RECORDS
    kept_in: Literal["store", "broker"] = "store"

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


@dataclass(frozen=True, slots=True)
class Poison:
    """One record that cannot be taken. `reason` is a word out of few, for counting; `cause` is for whoever mends it."""

    record: Record
    reason: str
    cause: str


class PoisonRecords(Exception):
    """A handler says: these records cannot be taken, the others can (or are not yet known to fail).

    Whoever can tell all of them before it begins should: each raise costs the batch one more transaction.
    """

    def __init__(self, *poisons: Poison) -> None:
        """Name the records; reason and cause go with them to the dead letter topic."""
        first = poisons[0]
        super().__init__(f"{first.record.source} at {first.record.offset}: {first.reason}: {first.cause}")
        self.poisons = poisons


def refused(record: Record, error: Rejected) -> Poison:
    """Return `record` as poison, for what `error` says of it."""
    return Poison(record, error.code, error.detail)


class UnreadRecord(Rejected):
    """The client could not read the record whole: a header's name is not UTF-8, a batch is a bomb or damaged."""

    code = "unread_record"
    title = "The record cannot be read"


def require_read(record: Record) -> None:
    """Raise UnreadRecord where `record` is not what its producer wrote."""
    if record.unread is not None:
        raise UnreadRecord(record.unread)


class OffsetLost(Broken):
    """What is stored does not fit the log: retention, truncation, or a topic made again. Only an operator may jump."""

    code = "offset_lost"
    title = "The stored offset does not fit the log"


def offset_lost(of: Subscription, source: TopicPartition, why: str) -> OffsetLost:
    """Return the error that stops `of` at `source` and names the operator's verb."""
    where = " --kept-in broker" if of.kept_in == "broker" else ""
    return OffsetLost(
        f"{of.consumer} stops at {source}: {why}. Decide what may be skipped or repeated, then run `maestro bus "
        f"reset-offset --service {of.service} --consumer {of.consumer} --topic {source.topic} "
        f'--partition {source.partition} --to earliest|latest|N{where} --reason "..."`'
    )
