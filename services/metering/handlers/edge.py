"""The edge: what a sender wrote becomes usage in Kafka, durable before the sender is answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from libs.bus.ports import Bus
from libs.bus.records import Headers, Message
from libs.runtime.clock import Clock
from libs.runtime.crashpoints import crash_point
from libs.runtime.tracing import TRACEPARENT, current_traceparent
from libs.schemas.values import microseconds
from services.metering import metrics
from services.metering.domain.identity import Fingerprints, first_shard_of
from services.metering.domain.intake import Intake, Taken, TenantOf
from services.metering.domain.meters import Meters
from services.metering.domain.records import encode
from services.metering.errors import IntakeFull
from services.metering.handlers.reading import SHARDS_TOPIC

MAX_REQUESTS: Final = 128  # under way at once: each waits for one round trip to Kafka
MAX_BYTES: Final = 64 * 1024 * 1024  # of bodies under way at once: what an edge may take of memory, about


class Gate:
    """Bounds what is under way; who comes when it is full is told to come back."""

    def __init__(self, *, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES) -> None:
        """Start empty."""
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place for one request; raise IntakeFull where none is free."""
        if self._requests >= self._max_requests:
            raise IntakeFull(f"{self._max_requests} requests are under way", retry_after_s=1)
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    @contextmanager
    def carry(self, size: int) -> Iterator[None]:
        """Hold room for `size` bytes; raise IntakeFull where there is none. A lone request always finds room."""
        if self._bytes and self._bytes + size > self._max_bytes:
            raise IntakeFull(f"{self._max_bytes} bytes are under way", retry_after_s=1)
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size


@dataclass(frozen=True, slots=True)
class UsageEdge:
    """Takes usage in. Holds no state: any number of processes may stand side by side."""

    bus: Bus
    fingerprints: Fingerprints
    meters: Meters
    clock: Clock
    region: str

    def intake(self, tenant_of: TenantOf) -> Intake:
        """Return what reads one request of the sender that `tenant_of` speaks for."""
        return Intake(self.fingerprints, self.meters, tenant_of, microseconds(self.clock.now()))

    async def keep(self, taken: Taken) -> None:
        """Return once the events are durable on all in-sync replicas; raise Unavailable where Kafka does not answer.

        After an error some may be durable all the same: the sender repeats the request, and shard owners count each
        event once.
        """
        if taken.events:
            partitions = await self.bus.partitions(SHARDS_TOPIC)
            headers = self._headers()
            messages = [
                Message(SHARDS_TOPIC, str(first_shard_of(partition, partitions)).encode(), value, headers, partition)
                for partition, value in encode(taken.events, partitions)
            ]
            await self.bus.publisher.publish(messages)
            crash_point("metering.edge_durable")
        metrics.EDGE_EVENTS.add(len(taken.events), {"verdict": "accepted"})
        metrics.EDGE_EVENTS.add(taken.unmetered_count, {"verdict": "unmetered"})
        for verdict in taken.rejected:
            metrics.EDGE_EVENTS.add(1, {"verdict": verdict.reason or ""})

    def _headers(self) -> Headers:
        traceparent = current_traceparent()
        trace: Headers = () if traceparent is None else ((TRACEPARENT, traceparent.encode("ascii")),)
        return (("maestro_region", self.region.encode("utf-8")), *trace)
