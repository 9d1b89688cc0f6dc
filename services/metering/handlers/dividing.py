"""Where usage is written: to usage-shards, or, beyond what its tenant may put in front of others, to usage-overflow.

Either way it is durable when `publish` returns, and counted once: the forwarder of usage-overflow brings it on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from libs.bus.ports import Bus
from libs.bus.records import Headers, Message
from libs.runtime.errors import Unavailable
from libs.runtime.tracing import TRACEPARENT, current_traceparent
from services.metering import metrics
from services.metering.domain.accounts import Accounts, Lags, overflow_partition_of
from services.metering.domain.events import UsageEvent
from services.metering.domain.identity import first_shard_of
from services.metering.domain.records import encode, encode_whole
from services.metering.handlers.reading import OVERFLOW_TOPIC, SHARDS_TOPIC, Reading

LOOK_S: Final = 0.25  # between looks at the owners, while room is short: a few small requests to broker and store
CALM_S: Final = 1.0  # between them else
MAX_NAMED: Final = 5  # tenants that one line of the log names

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Divider:
    """Writes usage, and keeps the accounts of it."""

    bus: Bus
    region: str
    accounts: Accounts
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _named: frozenset[str] = frozenset()
    _look_at_s: float = 0.0

    def has_too_much(self, tenant_id: str) -> bool:
        """Return whether the tenant is to come back with more."""
        return self.accounts.has_too_much(tenant_id)

    def refused(self, events: Iterable[UsageEvent]) -> frozenset[str]:
        """Return the tenants of these events that are to come back with more."""
        if not self.accounts.has_diverted():
            return frozenset()
        return frozenset(filter(self.has_too_much, {event.tenant_id for event in events}))

    async def publish(self, events: Sequence[UsageEvent]) -> None:
        """Return once the events are durable; raise Unavailable, after which some may be durable all the same."""
        counts = Counter(event.tenant_id for event in events)
        partitions = await self.bus.partitions(OVERFLOW_TOPIC)
        written = {tenant_id: count for tenant_id, count in counts.items() if self.accounts.take(tenant_id, count)}
        diverted = {tenant_id: count for tenant_id, count in counts.items() if tenant_id not in written}
        for tenant_id, count in diverted.items():
            self.accounts.divert(tenant_id, count, partitions)
            metrics.OVERFLOW_EVENTS.add(count, {"step": "diverted", "weight": self.accounts.weight(tenant_id)})
        try:
            direct = [event for event in events if event.tenant_id in written] if diverted else events
            messages = await self._to_shards(direct)
            for tenant_id in diverted:
                messages += self._to_overflow(tenant_id, events, partitions)
            await self._write(messages)
        finally:
            self.accounts.acknowledge(written, diverted, partitions)

    async def forward(self, lots: Iterable[Sequence[UsageEvent]]) -> None:
        """Return once these lots of usage-overflow, which the accounts took before, are durable on usage-shards."""
        events = [event for lot in lots for event in lot]
        try:
            await self._write(await self._to_shards(events))
        finally:
            self.accounts.acknowledge(Counter(event.tenant_id for event in events), {}, 0)

    async def until_moved(self, within_s: float) -> None:
        """Return after the next look at the owners; raise Unavailable where there is none within this time."""
        self._moved.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._moved.wait()
        except TimeoutError as error:
            raise Unavailable("how far owners are is not known now") from error

    async def look(self, reading: Reading) -> bool:
        """Look how far owners and forwarders are. Returns False: there is never more before the pause is over."""
        accounts, now_s = self.accounts, asyncio.get_running_loop().time
        if now_s() < self._look_at_s and not accounts.is_pressed():
            return False
        self._look_at_s = now_s() + CALM_S
        if accounts.is_idle():
            accounts.rest(now_s())
        else:
            accounts.cut(now_s())
            accounts.settle(await self._lags(reading), now_s())
        self._moved.set()
        metrics.show_isolation(accounts.bound.events, accounts.waiting, accounts.waited_s)
        self._tell(frozenset(accounts.diverted_tenants()))
        return False

    async def _lags(self, reading: Reading) -> Lags:
        shard_ends, overflow_ends = await reading.ends(), await reading.overflow_ends()
        counted = {partition: one.reached for partition, one in (await reading.progress()).items()}
        forwarded = {partition: one.reached for partition, one in (await reading.forwarded()).items()}
        return Lags(shard_ends, counted, overflow_ends, forwarded)

    def _tell(self, diverted: frozenset[str]) -> None:
        """Say in the log whose usage takes the long way from now on, and when nobody's does any more."""
        if fresh := sorted(diverted - self._named):
            named = ", ".join(fresh[:MAX_NAMED])
            _log.warning("%d tenants send more than their share; it waits on usage-overflow: %s", len(fresh), named)
        elif self._named and not diverted:
            _log.info("nothing that this process diverted waits on usage-overflow any more")
        self._named = diverted

    async def _to_shards(self, events: Iterable[UsageEvent]) -> list[Message]:
        partitions = await self.bus.partitions(SHARDS_TOPIC)
        headers = self._headers()
        return [
            Message(SHARDS_TOPIC, str(first_shard_of(partition, partitions)).encode(), value, headers, partition)
            for partition, value in encode(events, partitions)
        ]

    def _to_overflow(self, tenant_id: str, events: Iterable[UsageEvent], partitions: int) -> list[Message]:
        place, headers = overflow_partition_of(tenant_id, partitions), self._headers()
        values = encode_whole(event for event in events if event.tenant_id == tenant_id)
        return [Message(OVERFLOW_TOPIC, tenant_id.encode(), value, headers, place) for value in values]

    async def _write(self, messages: Sequence[Message]) -> None:
        if messages:
            await self.bus.publisher.publish(messages)

    def _headers(self) -> Headers:
        traceparent = current_traceparent()
        trace: Headers = () if traceparent is None else ((TRACEPARENT, traceparent.encode("ascii")),)
        return (("maestro_region", self.region.encode("utf-8")), *trace)
