"""The edge: what a sender wrote becomes usage in Kafka, durable before the sender is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from libs.access.principal import Principal
from libs.bus.ports import Bus
from libs.runtime.clock import Clock
from libs.runtime.crashpoints import crash_point
from libs.schemas.values import microseconds
from services.metering import metrics
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.codings import UNENCODED, plain_pieces
from services.metering.domain.events import UsageEvent
from services.metering.domain.identity import Fingerprints
from services.metering.domain.intake import Intake, Taken, TenantOf
from services.metering.domain.versions import MeterBook
from services.metering.errors import BodyTooLarge, IntakeFull, TooMuchWaiting
from services.metering.handlers.dividing import Divider

MAX_REQUESTS: Final = 128  # under way at once: each waits for one round trip to Kafka
MAX_BYTES: Final = 64 * 1024 * 1024  # of bodies under way at once: what an edge may take of memory, about
MAX_RECEIVE_S: Final = 10.0  # for a whole body to come: the largest at 7 Mbit/s; a slower sender sends smaller ones
REQUEST_SHARE: Final = 4  # one sender holds at most this part of the requests under way, so that others find a place
COME_BACK_S: Final = 5  # told to a tenant with too much waiting: a hundred thousand events are counted meanwhile
BYTE_SHARE: Final = 2  # and this part of the bytes: four full bodies


def sender_of(principal: Principal) -> str:
    """Return who is one sender to the gate: one tenant's keys together, an edge by itself."""
    return principal.tenant_id or principal.key_id


class Load:
    """What one request holds of a gate: its place, and room for the bytes that have come so far."""

    def __init__(self, gate: Gate, sender: str) -> None:
        """Start without bytes."""
        self._gate = gate
        self._sender = sender
        self.size_bytes = 0

    def grow(self, size: int) -> None:
        """Hold room for `size` more bytes; raise IntakeFull where there is none. A lone request always finds room."""
        self._gate.make_room(self._sender, self.size_bytes, size)
        self.size_bytes += size

    def received(self, chunk: bytes) -> bytes:
        """Return the chunk of a body as it came, holding room for it: who announces much and sends little holds little.

        Raises BodyTooLarge past what may be sent, IntakeFull where there is no room.
        """
        if self.size_bytes + len(chunk) > BOUNDS.sent_bytes:
            raise BodyTooLarge(f"a body has at most {BOUNDS.sent_bytes} bytes; send several")
        self.grow(len(chunk))
        return chunk

    def inflated(self, received: bytes, encoding: str) -> bytes:
        """Return the body without its encoding, holding room for each piece of it before the next is made.

        Raises IntakeFull where there is none, and what `plain_pieces` raises.
        """
        if encoding in UNENCODED:
            return received
        pieces: list[bytes] = []
        for piece in plain_pieces(received, encoding):
            self.grow(len(piece))
            pieces.append(piece)
        return b"".join(pieces)


class Gate:
    """Bounds what is under way, in all and of one sender; who comes when it is full is told to come back."""

    def __init__(
        self, *, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES, receive_s: float = MAX_RECEIVE_S
    ) -> None:
        """Start empty. `receive_s` is how long a body may take to come."""
        self.receive_s = receive_s
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._requests: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    @contextmanager
    def enter(self, sender: str) -> Iterator[Load]:
        """Hold a place for one request of `sender`; raise IntakeFull where none is free."""
        if self._requests.total() >= self._max_requests:
            raise IntakeFull(f"{self._max_requests} requests are under way", retry_after_s=1)
        share = max(1, self._max_requests // REQUEST_SHARE)
        if self._requests[sender] >= share:
            raise IntakeFull(f"{share} requests of the sender are under way", retry_after_s=1)
        load = Load(self, sender)
        self._requests[sender] += 1
        try:
            yield load
        finally:
            # Subtracting drops a sender who holds nothing: only those under way are remembered.
            self._requests -= Counter({sender: 1})
            self._bytes -= Counter({sender: load.size_bytes})

    def make_room(self, sender: str, held: int, more: int) -> None:
        """Count `more` bytes for a request that holds `held`; raise IntakeFull where others leave too little room."""
        in_all, of_sender = self._bytes.total(), self._bytes[sender]
        share = self._max_bytes // BYTE_SHARE
        if in_all > held and in_all + more > self._max_bytes:
            raise IntakeFull(f"{self._max_bytes} bytes are under way", retry_after_s=1)
        if of_sender > held and of_sender + more > share:
            raise IntakeFull(f"{share} bytes of the sender are under way", retry_after_s=1)
        self._bytes[sender] += more


@dataclass(frozen=True, slots=True)
class UsageEdge:
    """Takes usage in. Holds no state: any number of processes may stand side by side."""

    bus: Bus
    fingerprints: Fingerprints
    meters: MeterBook
    clock: Clock
    divider: Divider

    def intake(self, tenant_of: TenantOf, came_us: int | None = None) -> Intake:
        """Return what reads one request of the sender that `tenant_of` speaks for; it came now, or at `came_us`."""
        now_us = microseconds(self.clock.now())
        came_us = now_us if came_us is None else came_us
        may_leave_out = self.meters.may_leave_out(self.clock.monotonic())
        return Intake(self.fingerprints, self.meters, tenant_of, now_us, came_us, may_leave_out)

    async def keep(self, taken: Taken) -> None:
        """Return once the events are durable on all in-sync replicas; raise Unavailable where Kafka does not answer.

        Raises TooMuchWaiting where too much of a tenant's usage waits; that of other tenants in the request is durable
        by then. After an error some may be durable all the same: the sender repeats the request, and shard owners count
        each event once.
        """
        refused = self.divider.refused(taken.events)
        kept = [event for event in taken.events if event.tenant_id not in refused] if refused else taken.events
        if kept:
            await self.publish(kept)
            crash_point("metering.edge_durable")
        if refused:
            detail = f"much usage of {len(refused)} tenants waits; send the same again"
            raise TooMuchWaiting(detail, retry_after_s=COME_BACK_S)
        self.count(taken)

    def require_room(self, caller: Principal) -> None:
        """Raise TooMuchWaiting where all that the caller sends would be refused: before its body is read."""
        if caller.tenant_id is not None and self.divider.has_too_much(caller.tenant_id):
            raise TooMuchWaiting("much of the tenant's usage waits; send the same again", retry_after_s=COME_BACK_S)

    async def publish(self, events: Sequence[UsageEvent]) -> None:
        """Return once the events are durable; raise Unavailable, see `keep`."""
        await self.divider.publish(events)

    def count(self, taken: Taken) -> None:
        """Count the verdicts."""
        metrics.EDGE_EVENTS.add(len(taken.events), {"verdict": "accepted"})
        metrics.EDGE_EVENTS.add(taken.unmetered_count, {"verdict": "unmetered"})
        for verdict in taken.rejected:
            metrics.EDGE_EVENTS.add(1, {"verdict": verdict.reason or ""})
