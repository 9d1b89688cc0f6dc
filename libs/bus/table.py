"""A topic kept in memory by every process: all of a compacted topic, from its start, and then as it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from random import Random, SystemRandom
from typing import Final
from uuid import UUID

from libs.bus import metrics
from libs.bus.backoff import Backoff
from libs.bus.ports import Bus, Fetched, OutOfRange, Reader
from libs.bus.records import Record
from libs.bus.sequences import Lane, Place, stamp_of
from libs.bus.subscription import require_read
from libs.bus.unknown_types import UnknownTypes
from libs.runtime.errors import Broken, Rejected, Unavailable
from libs.schemas.values import from_microseconds

WATCH_S: Final = 5.0  # how often it asks whether the topic is still the same, with as many partitions

_log = logging.getLogger(__name__)


class CompactedTable:
    """Applies every record of `topic` in order. What a relay published twice is applied once per key.

    `apply(record)` changes the memory of its owner, and is called in the event loop: it must be quick. A record with
    value None (a tombstone) says that its key is gone. It raises Rejected for one that cannot be understood: that is
    logged and passed over, the last good value of its key stands. One of a type that is not listed for the topic is
    logged and counted here; what it means for its key is for `apply` to say.
    """

    def __init__(self, bus: Bus, topic: str, apply: Callable[[Record], None], *, random: Random | None = None) -> None:
        """Wire the table; `run` starts it."""
        self._bus = bus
        self._topic = topic
        self._apply = apply
        self._unknown = UnknownTypes(topic)
        self._backoff = Backoff(random or SystemRandom())
        self._topic_id: UUID | None = None
        self._positions: dict[int, int] = {}
        self._targets: dict[int, int] = {}
        self._taken: dict[Lane, Place] = {}
        self._lags: dict[int, int] = {}
        self._current_at_ms: int | None = None
        self._watch_at_s = 0.0
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled; raise Broken where the topic was made again, for then memory is of another one.

        `ready` is set once all that the topic held at the start is applied, and stays set: after an outage the table
        goes on from where it was, and `current_at` tells how old it is.
        """
        while True:
            reader = self._bus.reader(self._topic)
            try:
                await self._start(reader)
                while True:
                    self._take(await reader.poll(), reader)
                    await self._watch()
            except Unavailable as error:
                _log.warning("table of %s waits: %s", self._topic, error)
            except OutOfRange as error:
                _log.warning("table of %s reads all again: %s", self._topic, error)
                self._positions = {}
            finally:
                await reader.stop()
            await asyncio.sleep(self._backoff.next_s())

    def lag(self) -> int | None:
        """Return how many offsets are not applied yet as of the broker's last answers, None before the first."""
        return sum(self._lags.values()) if self._lags else None

    def current_at(self) -> datetime | None:
        """Return when the table was last known to hold all of the topic, by the broker's answers; None before that."""
        return None if self._current_at_ms is None else from_microseconds(self._current_at_ms * 1000)

    async def _start(self, reader: Reader) -> None:
        await self._refuse_recreated()
        self._targets = dict(await reader.start(self._positions))
        self._backoff.reset()

    async def _refuse_recreated(self) -> None:
        ids = await self._bus.topic_ids([self._topic])
        if self._topic not in ids:
            raise Unavailable(f"topic {self._topic} does not exist yet")
        if self._topic_id not in {None, ids[self._topic]}:
            raise Broken(f"topic {self._topic} was deleted and made again: start the process anew")
        self._topic_id = ids[self._topic]

    async def _watch(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._watch_at_s:
            return
        self._watch_at_s = now_s + WATCH_S
        await self._refuse_recreated()
        if await self._bus.partitions(self._topic) != len(self._targets):
            raise Unavailable(f"topic {self._topic} has new partitions")

    def _take(self, got: Fetched, reader: Reader) -> None:
        for record in got.records:
            self._take_one(record)
        self._positions.update({source.partition: offset for source, offset in got.positions.items()})
        if not self.ready.is_set() and all(
            self._positions.get(number, 0) >= end for number, end in self._targets.items()
        ):
            _log.info("table of %s is complete", self._topic)
            self.ready.set()
        answers = {source.partition: one for source, one in reader.seen().items()}
        self._lags = {number: max(0, one.end - self._positions.get(number, 0)) for number, one in answers.items()}
        if len(answers) == len(self._targets) and not any(self._lags.values()):
            self._current_at_ms = min(one.at_ms for one in answers.values())
            metrics.TABLE_CURRENT.replace(self._topic, [({"topic": self._topic}, self._current_at_ms / 1000)])

    def _take_one(self, record: Record) -> None:
        stamp = stamp_of(record, compacted=True)
        if stamp is not None:
            if stamp.at < self._taken.get(stamp.lane, stamp.at):
                return
            self._taken[stamp.lane] = stamp.at
        try:
            require_read(record)
            self._unknown.meet(record)
            self._apply(record)
        except Rejected as error:
            _log.error("%s at %d cannot be understood: %s", record.source, record.offset, error)
