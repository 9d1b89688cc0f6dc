"""What a store has told the broker about how far it is, so that a store which went back in time is noticed.

A restored backup, or a promoted replica that lacked the last transactions, looks like any other store from the inside.
The broker goes on meanwhile. So every consumer and relay leaves a mark there, about once a second and only after its
commit: which store, its epoch, the owner epoch, the offset or sequence reached. A store that is behind its own mark has
lost what it did; numbers that it gives out now were given out before. It says nothing and takes nothing until an
operator has raised its epoch, which makes every new number greater than any lost one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.bus.records import TopicPartition
from libs.runtime.errors import Broken

ANY_TOPIC: Final = UUID(int=0)  # of a relay's marks: its sequences go on over a topic that is made again
_VERSION: Final = "1"


class StoreWentBack(Broken):
    """The store holds less than it has told the broker: it was restored, or promoted with a loss."""

    code = "store_went_back"
    title = "The store has gone back in time"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a store was. `owner_epoch` is 0 for a relay; `at` is the next offset, for a relay the last sequence."""

    store_id: UUID
    topic_id: UUID
    epoch: int
    owner_epoch: int
    at: int

    def is_ahead_of(self, other: Mark) -> bool:
        """Return whether this mark is of the same store and topic, and further."""
        return (self.store_id, self.topic_id) == (other.store_id, other.topic_id) and self.place > other.place

    @property
    def place(self) -> tuple[int, int, int]:
        """What orders the marks of one store."""
        return self.epoch, self.owner_epoch, self.at

    def metadata(self) -> str:
        """Return what goes with the offset `at` into the broker."""
        return f"{_VERSION} {self.store_id.hex} {self.topic_id.hex} {self.epoch} {self.owner_epoch}"


def mark_of(at: int, metadata: str | None) -> Mark | None:
    """Return the mark that was committed as the offset `at` with `metadata`; None where that is no mark of ours."""
    version, *fields = (metadata or "").split(" ")
    if version != _VERSION:
        return None
    try:
        store_id, topic_id, epoch, owner_epoch = fields
        return Mark(UUID(store_id), UUID(topic_id), int(epoch), int(owner_epoch), at)
    except ValueError:
        return None


def relay_group(service: str) -> str:
    """Return the group under which the relay of `service` leaves its marks."""
    return f"maestro.{service}.relay"


def refuse_if_behind(service: str, told: Mapping[TopicPartition, Mark], held: Mapping[TopicPartition, Mark]) -> None:
    """Raise StoreWentBack, naming the operator's verb, where a mark was told that is ahead of what the store holds."""
    for source in sorted(told.keys() & held.keys()):
        before, now = told[source], held[source]
        if before.is_ahead_of(now):
            raise StoreWentBack(
                f"the store of {service} was at {before.place} of {source} (epoch, owner epoch, place) and is at "
                f"{now.place}: it was restored, or promoted with a loss. What it gives out now was given out before. "
                f"Make sure that it is the store to go on with, then run "
                f'`maestro bus raise-epoch --service {service} --reason "..."`'
            )
