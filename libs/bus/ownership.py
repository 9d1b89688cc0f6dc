"""Taking partitions: raise the owner epoch, load where to read on, and refuse a log that is not the one we know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from libs.bus.marks import refuse_if_behind
from libs.bus.offsets import Incarnation, Owned, begin_incarnation, held_marks, known_ids, take
from libs.bus.ports import Bus
from libs.bus.records import TopicPartition
from libs.bus.subscription import Subscription, offset_lost
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, Tx, transaction


class Ownership:
    """What one process may say about the partitions of its subscription."""

    def __init__(self, bus: Bus, pool: Pool, subscription: Subscription) -> None:
        """Wire it; `begin` comes first."""
        self._bus = bus
        self._pool = pool
        self._of = subscription
        self._incarnation = 0

    @property
    def incarnation(self) -> Incarnation:
        """This process, among those of its instance."""
        return Incarnation(self._of.consumer, self._of.instance, self._incarnation)

    async def begin(self) -> None:
        """Say that this process is the living one of its instance; only once, so that an old one never comes back."""
        if self._incarnation:
            return
        async with transaction(self._pool) as tx:
            self._incarnation = await begin_incarnation(tx, self._of.consumer, self._of.instance)

    async def take(self, partitions: frozenset[TopicPartition]) -> dict[TopicPartition, Owned]:
        """Own `partitions`: from now on every other owner's write fails.

        Raises OffsetLost where stored offset and log do not fit, StoreWentBack where the store is behind what it was,
        Replaced where a newer process took our name.
        """
        if not partitions:
            return {}
        names = {source.topic for source in partitions}
        ids = await self._ids(names)
        starts = {name: await self._bus.start_offsets(name) for name in names}
        told = await self._bus.marks(self._of.group)  # asked before the store: whoever writes meanwhile only gets ahead
        async with transaction(self._pool) as tx:
            await self._refuse_recreated(tx, partitions, ids)
            held = await held_marks(tx, self._of.consumer, {one: ids[one.topic] for one in partitions})
            refuse_if_behind(self._of.service, told, held)
            owned = await take(
                tx,
                consumer=self._of.consumer,
                instance=self._of.instance,
                incarnation=self._incarnation,
                starts={one: (ids[one.topic], starts[one.topic][one.partition]) for one in partitions},
            )
        # Asked after the transaction: the old owner may have moved the offset up to the moment that we took it.
        ends = {name: await self._bus.end_offsets(name) for name in names}
        for source, mine in owned.items():
            first, end = starts[source.topic][source.partition], ends[source.topic][source.partition]
            if not first <= mine.next <= end:
                raise offset_lost(self._of, source, f"stored is {mine.next}, the log holds [{first}, {end})")
        return owned

    async def confirm(self, owned: Mapping[TopicPartition, Owned]) -> None:
        """Raise OffsetLost unless the topics are still the ones that we took.

        Asked between fetching and writing: ids never come back, so records fetched before are of the topic we know.
        """
        ids = await self._ids({source.topic for source in owned})
        for source, mine in owned.items():
            if ids[source.topic] != mine.topic_id:
                raise offset_lost(self._of, source, "the topic was deleted and made again while we read it")

    async def is_complete(self) -> bool:
        """Return whether some member has taken every partition of the topics as they now are.

        A static member that comes back gets its old share, computed for topics that may have grown or been made again
        meanwhile, and the broker makes no new one by itself.
        """
        ids = await self._ids(set(self._of.topics))
        counts = {name: await self._bus.partitions(name) for name in ids}
        async with transaction(self._pool) as tx:
            stored = await known_ids(tx, self._of.consumer, ids.keys())
        return all(
            ids[name] in stored.get(TopicPartition(name, number), ())
            for name, count in counts.items()
            for number in range(count)
        )

    async def _ids(self, names: set[str]) -> Mapping[str, UUID]:
        ids = await self._bus.topic_ids(names)
        if missing := names - ids.keys():
            raise Unavailable(f"topics {sorted(missing)} do not exist")
        return ids

    async def _refuse_recreated(self, tx: Tx, partitions: Iterable[TopicPartition], ids: Mapping[str, UUID]) -> None:
        stored = await known_ids(tx, self._of.consumer, ids.keys())
        for source in sorted(partitions):
            if source in stored and ids[source.topic] not in stored[source]:
                raise offset_lost(self._of, source, "the topic was deleted and made again: its records are other ones")
