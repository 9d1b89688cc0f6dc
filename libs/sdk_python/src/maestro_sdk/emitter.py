"""Usage events that arrive: batched, bounded, retried for as long as an outage lasts, and never lost without a word."""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from maestro_sdk.backoff import Backoff
from maestro_sdk.clock import Clock, SystemClock
from maestro_sdk.delivery import EventsEndpoint, Settled, TooLarge, TryAgain
from maestro_sdk.errors import EmitterClosed, EmitterFull
from maestro_sdk.events import EncodedEvent, LostEvent, UsageEvent

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmitterPolicy:
    """How events are sent. `queue_events` bounds memory, `deadline_s` how long a batch is tried for."""

    batch_events: int = 500
    linger_s: float = 0.2
    queue_events: int = 100_000
    deadline_s: float = 900.0  # outlasts an outage that is mended in a quarter of an hour
    request_timeout_s: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True)
class UsageCounts:
    """What became of the events emitted: their sum. Only `pending` ones are still on their way."""

    accepted: int = 0
    rejected: int = 0
    dropped: int = 0
    pending: int = 0


class UsageEmitter:
    """Takes usage events and brings them to metering in the background. Bound to one event loop.

    An event has its identity before its first try, so trying again never counts twice. What metering rejects and what
    its deadline overtakes is counted, logged, and handed to `on_lost`. Close it with `aclose` or `async with`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        source: str,
        policy: EmitterPolicy | None = None,
        on_lost: Callable[[LostEvent], None] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Send to metering at `base_url` with `api_key`; `source` and an id of its own are an event's identity."""
        self._source = source
        self._policy = policy or EmitterPolicy()
        self._on_lost = on_lost
        self._clock = clock or SystemClock()
        timeout_s = self._policy.request_timeout_s
        self._endpoint = EventsEndpoint(base_url, api_key, self._clock, timeout_s, transport)
        self._batch_events = self._policy.batch_events
        self._queue: deque[EncodedEvent] = deque()
        self._under_way: list[EncodedEvent] = []
        self._settled = {"accepted": 0, "rejected": 0, "dropped": 0}
        self._sending: asyncio.Task[None] | None = None
        self._is_closing = False
        self._changed = asyncio.Condition()
        self._hurry = asyncio.Event()

    @property
    def counts(self) -> UsageCounts:
        """What became of the events so far."""
        return UsageCounts(**self._settled, pending=self._pending)

    @property
    def _pending(self) -> int:
        return len(self._queue) + len(self._under_way)

    async def emit(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        subject: str | None = None,
        event_id: str | None = None,
        time: datetime | None = None,
    ) -> UsageEvent:
        """Take an event, waiting while the queue is full, and return it with its id and time.

        `subject` is the tenant, for a key that may name one; `time` is now unless said. Raises EmitterClosed, and
        TypeError or ValueError for data that JSON cannot hold.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._pending < self._policy.queue_events or self._is_closing)
        return self.emit_nowait(event_type, data, subject=subject, event_id=event_id, time=time)

    def emit_nowait(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        subject: str | None = None,
        event_id: str | None = None,
        time: datetime | None = None,
    ) -> UsageEvent:
        """Take an event as `emit` does, but raise EmitterFull where that would wait. Needs a running event loop."""
        if self._is_closing:
            raise EmitterClosed("the emitter was closed")
        if self._pending >= self._policy.queue_events:
            raise EmitterFull(f"{self._pending} events wait for metering; the bound is `queue_events`")
        event = UsageEvent(
            id=event_id or uuid.uuid4().hex,
            source=self._source,
            type=event_type,
            time=time or self._clock.now(),
            data=data,
            subject=subject,
        )
        self._queue.append(EncodedEvent.of(event))
        self._wake()
        return event

    async def flush(self, within_s: float | None = None) -> bool:
        """Send at once; return True when nothing is pending, False where that is not so `within_s` seconds later."""
        self._hurry.set()
        try:
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: self._pending == 0)
        except TimeoutError:
            return False
        return True

    async def aclose(self, within_s: float = 30.0) -> UsageCounts:
        """Take no more, send what is pending for up to `within_s` seconds, drop the rest by name; return the counts."""
        self._is_closing = True
        async with self._changed:
            self._changed.notify_all()
        await self.flush(within_s)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        left = [*self._under_way, *self._queue]
        self._under_way = []
        self._queue.clear()
        await self._endpoint.aclose()
        self._lose([LostEvent(one.event, "dropped", "closed before metering confirmed it") for one in left])
        return self.counts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _wake(self) -> None:
        if len(self._queue) >= self._batch_events:
            self._hurry.set()
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        """Send until nothing is queued; the next event starts it anew."""
        await self._linger()
        while self._pending:
            if not self._under_way:
                size = min(len(self._queue), self._batch_events)
                self._under_way = [self._queue.popleft() for _ in range(size)]
            await self._deliver(self._under_way)
            async with self._changed:
                self._changed.notify_all()
        self._hurry.clear()

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(self._policy.linger_s):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _deliver(self, batch: Sequence[EncodedEvent]) -> None:
        """Try until metering settled the batch, wants it smaller, or its time is over."""
        begun_s = self._clock.monotonic()
        for attempt in itertools.count():
            outcome = await self._endpoint.send(batch)
            match outcome:
                case Settled():
                    self._settle(batch, outcome)
                    return
                case TooLarge():
                    self._halve(batch)
                    return
                case TryAgain():
                    if not await self._pause(attempt, outcome, begun_s):
                        self._under_way = []
                        self._lose([LostEvent(one.event, "dropped", outcome.why) for one in batch])
                        return

    async def _pause(self, attempt: int, outcome: TryAgain, begun_s: float) -> bool:
        """Wait before the next try; False, at once, where it would come after the batch's time."""
        patience_s = self._policy.deadline_s if outcome.patience_s is None else outcome.patience_s
        left_s = begun_s + min(patience_s, self._policy.deadline_s) - self._clock.monotonic()
        pause_s = self._policy.backoff.pause_s(attempt, outcome.pause_s)
        if pause_s > left_s:
            return False
        if attempt == 0:
            _log.warning("metering does not take %d usage events yet (%s); trying again", self._pending, outcome.why)
        await self._clock.sleep(pause_s)
        return True

    def _halve(self, batch: Sequence[EncodedEvent]) -> None:
        self._batch_events = len(batch) // 2  # of more than one: a single event that is too large is rejected
        self._queue.extendleft(reversed(batch[self._batch_events :]))
        self._under_way = list(batch[: self._batch_events])

    def _settle(self, batch: Sequence[EncodedEvent], outcome: Settled) -> None:
        rejected = {index: reason for index, reason in outcome.rejected.items() if 0 <= index < len(batch)}
        self._under_way = []
        self._settled["accepted"] += len(batch) - len(rejected)
        self._lose([LostEvent(batch[index].event, "rejected", reason) for index, reason in rejected.items()])

    def _lose(self, events: Sequence[LostEvent]) -> None:
        for lost in events:  # all are counted before `on_lost`, which is not ours, sees the first
            self._settled[lost.how] += 1
            _log.error("usage event %s of %s was %s: %s", lost.event.id, lost.event.source, lost.how, lost.reason)
        if self._on_lost is not None:
            for lost in events:
                self._on_lost(lost)
