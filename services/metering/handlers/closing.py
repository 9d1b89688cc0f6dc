"""The close of a period: kept when asked for, done once everything acknowledged before is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from libs.bus.envelope import Received
from libs.bus.outbox import say
from libs.runtime.clock import Clock
from libs.runtime.crashpoints import crash_point
from libs.schemas.events import CloseRequested, PeriodClosed
from libs.schemas.values import microseconds
from libs.store.pool import Tx
from services.metering import metrics
from services.metering.domain import closing
from services.metering.domain.gauges import Span
from services.metering.domain.meters import Meters
from services.metering.handlers.integrating import integrate_for_close
from services.metering.store import closes, windows
from services.metering.store.fence import hold_fence

WINDOWS_TOPIC: Final = "usage-windows"


async def on_close_requested(tx: Tx, received: Received[CloseRequested]) -> None:
    """Keep the request; raise BadClose where it cannot be granted."""
    closing.check(received.data)
    await closes.save_request(tx, received.data, received.meta.traceparent)


async def show_waiting(tx: Tx) -> None:
    """Show how many closes wait, and how long."""
    count, age_s = await closes.waiting(tx)
    metrics.CLOSES_WAITING.replace("metering", [({}, count)])
    metrics.CLOSE_AGE.replace("metering", [({}, age_s)])


@dataclass(frozen=True, slots=True)
class Closing:
    """Freezes periods. The caller has seen that all usage acknowledged before the request is counted."""

    meters: Meters
    clock: Clock

    async def close(self, tx: Tx, request: CloseRequested) -> PeriodClosed | None:
        """Freeze the period and say so; None where another process answers the request or has.

        A period that was closed before stays as it is, and what was said then is said again, word for word.
        """
        if not await closes.take_request(tx, request.close_id):
            return None
        await hold_fence(tx)
        said = await closes.said_of(tx, request.tenant_id, request.period)
        if said is None:
            said = await self._freeze(tx, request)
        await say(tx, WINDOWS_TOPIC, said, key=said.tenant_id)
        await closes.answer_request(tx, request.close_id)
        crash_point("metering.period_frozen")
        return said

    async def _freeze(self, tx: Tx, request: CloseRequested) -> PeriodClosed:
        period = Span(microseconds(request.starts_at), microseconds(request.ends_at))
        through_us = microseconds(closing.through(request))
        for meter in self.meters.gauges().values():
            await integrate_for_close(tx, meter, request.tenant_id, period, through_us)
        rows = await windows.freeze(tx, request.tenant_id, request.close_id, request.starts_at, request.ends_at)
        said = closing.freeze(request, rows, self.clock.now())
        await closes.add_close(tx, said)
        return said
