"""What a close waits for: all that was acknowledged before its request is routed, then forwarded, and then counted."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from libs.bus.records import TopicPartition
from services.metering.domain.accounts import overflow_partition_of
from services.metering.domain.closing import has_counted
from services.metering.handlers.reading import Reading
from services.metering.store.closes import OpenRequest

V = TypeVar("V")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Awaited:
    """Up to where usage is to be routed, forwarded and counted before each close.

    Of usage-overflow a close waits for the one partition that its tenant's usage lies on.
    """

    reading: Reading
    _foreign_ends: dict[str, Mapping[TopicPartition, int]] = field(default_factory=dict)
    _overflow_ends: dict[str, Mapping[int, int]] = field(default_factory=dict)
    _ends: dict[str, Mapping[int, int]] = field(default_factory=dict)

    async def look(self, waiting: Sequence[OpenRequest]) -> None:
        """Learn the ends of these closes as far as they can be known now, and forget all others."""
        tenants = {one.request.close_id: one.request.tenant_id for one in waiting}
        self._foreign_ends = _of(tenants, self._foreign_ends)
        self._overflow_ends, self._ends = _of(tenants, self._overflow_ends), _of(tenants, self._ends)
        if fresh := tenants.keys() - self._foreign_ends.keys():
            # Asked after the requests were seen: what was acknowledged before them lies before these ends.
            self._foreign_ends |= dict.fromkeys(fresh, await self.reading.foreign_ends())
        if unrouted := tenants.keys() - self._overflow_ends.keys():
            await self._pass_routed(unrouted, tenants)
        if unforwarded := self._overflow_ends.keys() - self._ends.keys():
            await self._pass_forwarded(unforwarded)
        if held := fresh - self._ends.keys():
            _log.info("%d closes wait for what lies on foreign topics and usage-overflow", len(held))

    async def _pass_routed(self, close_ids: Collection[str], tenants: Mapping[str, str]) -> None:
        routed = {source: one.reached for source, one in (await self.reading.routed()).items()}
        passed = [close_id for close_id in close_ids if has_counted(routed, self._foreign_ends[close_id])]
        if passed:
            # Asked after that was routed: what of it was diverted lies before these ends.
            ends = await self.reading.overflow_ends()
            places = {close_id: overflow_partition_of(tenants[close_id], len(ends)) for close_id in passed}
            self._overflow_ends |= {close_id: {place: ends[place]} for close_id, place in places.items()}

    async def _pass_forwarded(self, close_ids: Collection[str]) -> None:
        forwarded = {partition: one.reached for partition, one in (await self.reading.forwarded()).items()}
        passed = [close_id for close_id in close_ids if has_counted(forwarded, self._overflow_ends[close_id])]
        if passed:
            # Asked after that was forwarded: it lies before these ends too.
            self._ends |= dict.fromkeys(passed, await self.reading.ends())

    def is_counted(self, close_id: str, reached: Mapping[int, int]) -> bool:
        """Return whether all is counted that the close waits for; `reached` is how far usage-shards is."""
        return close_id in self._ends and has_counted(reached, self._ends[close_id])


def _of(close_ids: Collection[str], known: Mapping[str, V]) -> dict[str, V]:
    return {close_id: one for close_id, one in known.items() if close_id in close_ids}
