"""A relay's marks with the broker: how far it has given out sequences, told about once a second and read back first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from libs.bus import sequencing
from libs.bus.marks import ANY_TOPIC, Mark, refuse_if_behind, relay_group
from libs.bus.ports import Bus
from libs.bus.records import TopicPartition
from libs.bus.sequencing import OutboxRow
from libs.store.epoch import store_life
from libs.store.pool import Pool, transaction

MARK_S: Final = 1.0  # how often marks go to the broker: what a store may have lost before that is noticed


class Vouching:
    """Vouches for the store that a relay speaks for."""

    def __init__(self, pool: Pool, bus: Bus, service: str) -> None:
        """Wire it; `refuse_if_behind` comes first."""
        self._pool = pool
        self._bus = bus
        self._service = service
        self._group = relay_group(service)
        self._store_id = UUID(int=0)
        self._marks: dict[TopicPartition, Mark] = {}
        self._due_at_s = 0.0

    async def refuse_if_behind(self) -> None:
        """Raise StoreWentBack where the store has given out less than it told."""
        told = await self._bus.marks(self._group)  # asked first: a relay beside us can only get ahead of it
        async with transaction(self._pool) as tx:
            self._store_id = (await store_life(tx)).store_id
            held = await sequencing.held_marks(tx, told.keys())
        refuse_if_behind(self._service, told, held)

    def note(self, rows: Iterable[OutboxRow]) -> None:
        """Take in rows that are published, in order of sequence per partition."""
        for row in rows:
            source = TopicPartition(row.topic, row.partition)
            self._marks[source] = Mark(self._store_id, ANY_TOPIC, row.epoch, 0, row.seq)

    async def leave_marks(self, now_s: float) -> None:
        """Tell the broker what is new, where the last time is long enough ago. Raises Unavailable."""
        if self._marks and now_s >= self._due_at_s:
            self._due_at_s = now_s + MARK_S
            await self._bus.mark(self._group, self._marks)
            self._marks = {}
