"""Telling new totals: each window that changed, as it now is. A repeat is harmless: the greater (epoch, seq) wins."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.bus.envelope import event_message
from libs.bus.ports import Bus
from libs.bus.records import Message
from libs.runtime.clock import Clock
from libs.runtime.crashpoints import crash_point
from libs.runtime.errors import Rejected
from libs.runtime.names import service_source
from libs.schemas.events import WindowTotalled
from libs.schemas.values import microseconds
from libs.store.pool import Pool, transaction
from services.metering import metrics
from services.metering.domain.watermark import Watermarks
from services.metering.store import windows
from services.metering.store.fence import be_publisher
from services.metering.store.windows import ChangedWindow

WINDOWS_TOPIC: Final = "usage-windows"
MAX_WINDOWS: Final = 2_000  # of one turn: about half a megabyte, tens of milliseconds

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, service_source("metering") + "/windows")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Publishing:
    """Publishes changed windows. Of all processes on one store, one does at a time."""

    bus: Bus
    pool: Pool
    clock: Clock
    region: str

    async def turn(self, watermarks: Watermarks) -> int:
        """Publish at most MAX_WINDOWS changed windows and return how many; 0 where another process is at it."""
        async with transaction(self.pool) as tx:
            if not await be_publisher(tx):
                return 0
            await windows.follow_epoch(tx)
            changed = await windows.changed(tx, MAX_WINDOWS)
            if not changed:
                return 0
            await self.bus.publisher.publish(list(self._messages(changed, watermarks)))
            crash_point("metering.windows_published")
            await windows.mark_published(tx, [one.row for one in changed])
        metrics.WINDOWS_PUBLISHED.add(len(changed))
        return len(changed)

    def _messages(self, changed: Iterable[ChangedWindow], watermarks: Watermarks) -> Iterable[Message]:
        now = self.clock.now()
        for one in changed:
            try:
                event = self._event(one, watermarks.of(one.row.tenant_id))
            except Rejected as refused:
                # A total beyond the digits of a quantity holds up nobody else's; its period will not close.
                _log.error("a window cannot be told: %s", refused, extra={"window": repr(one.row)})
                continue
            yield event_message(WINDOWS_TOPIC, event, key=event.tenant_id, event_id=_event_id(event), at=now)

    def _event(self, window: ChangedWindow, watermark_at: datetime | None) -> WindowTotalled:
        row = window.row
        return WindowTotalled(
            tenant_id=row.tenant_id,
            metric=row.metric,
            window_start=row.window_start,
            value=row.value,
            unit=window.unit,
            last_gauge=window.last_gauge,
            store_epoch=row.store_epoch,
            seq=row.seq,
            digest=row.digest,
            region=self.region,
            watermark_at=watermark_at,
        )


def _event_id(event: WindowTotalled) -> uuid.UUID:
    """Return the id of this state of this window: the same however often it is published."""
    start_us = microseconds(event.window_start)
    return uuid.uuid5(_NAMESPACE, f"{event.tenant_id}/{event.metric}/{start_us}/{event.store_epoch}/{event.seq}")
