"""What tenants ask: their totals by window, each with the watermark, and what became of one event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice

from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, transaction
from services.metering.domain.calendar import Bucket, WindowSize, buckets, sliding
from services.metering.domain.identity import Fingerprints
from services.metering.handlers.reading import Reading
from services.metering.store import corrections, ids, windows
from services.metering.store.corrections import Kept
from services.metering.store.ids import History


@dataclass(frozen=True, slots=True)
class Question:
    """Totals of one metric of one tenant, by windows of `size` that touch [start, end); months begin on `anchor_day`.

    With `over` each total is of the range of that length that ends with the window.
    """

    tenant_id: str
    metric: str
    size: WindowSize
    zone: str
    start: datetime
    end: datetime
    anchor_day: int = 1
    over: timedelta | None = None

    def windows(self) -> Iterator[Bucket]:
        """Yield the windows in order; raise BadQuery."""
        return buckets(self.size, self.zone, self.start, self.end, anchor_day=self.anchor_day)


@dataclass(frozen=True, slots=True)
class Total:
    """One window's total. It is complete once the watermark has passed its end."""

    bucket: Bucket
    value: Decimal
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """A page of totals. `next_start` is where the next page begins; no watermark means that none is known now."""

    items: Sequence[Total]
    watermark_at: datetime | None
    next_start: datetime | None


@dataclass(frozen=True, slots=True)
class Queries:
    """Answers from the store, each in a transaction of its tenant."""

    pool: Pool
    reading: Reading
    fingerprints: Fingerprints

    async def totals(self, question: Question, limit: int) -> Totals:
        """Return the first `limit` windows of the question."""
        wanted = question.windows()
        steps = list(islice(wanted, limit))
        more = next(wanted, None)
        page = steps if question.over is None else [sliding(step, question.over) for step in steps]
        # Read before the totals: what is counted meanwhile makes them more complete than we say, never less.
        watermark_at = await self._watermark(question.tenant_id)
        async with transaction(self.pool, tenant=question.tenant_id) as tx:
            values = await windows.totals(tx, question.tenant_id, question.metric, page)
        items = [
            Total(bucket, value, is_complete=watermark_at is not None and bucket.end <= watermark_at)
            for bucket, value in zip(page, values, strict=True)
        ]
        return Totals(items, watermark_at, None if more is None else more.start)

    async def _watermark(self, tenant_id: str) -> datetime | None:
        try:
            return (await self.reading.watermarks()).of(tenant_id)
        except Unavailable:
            return None  # totals are served while the broker is away; nothing is said of how complete they are

    async def event(self, tenant_id: str, source: str, event_id: str) -> tuple[History, Sequence[Kept]]:
        """Return what became of the tenant's event, and its corrections by number."""
        key = self.fingerprints.key(tenant_id, source, event_id)
        async with transaction(self.pool, tenant=tenant_id) as tx:
            return await ids.history(tx, key), await corrections.of_event(tx, key)
