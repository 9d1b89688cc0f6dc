"""Gauges become windows: integrals up to the watermark while a period is open, up to its end when it is closed.

Windows of a closed period never change; by how much they would is kept as an adjustment.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from libs.schemas.values import microseconds
from libs.store.faults import is_poison
from libs.store.pool import Tx
from services.metering.domain.events import GRAIN_US, window_of_us
from services.metering.domain.folding import ClosedPeriod, closed_at
from services.metering.domain.gauges import Span, integrals
from services.metering.domain.meters import Meter
from services.metering.store import gauges
from services.metering.store.fence import closed_periods, share_fence
from services.metering.store.gauges import FrozenIntegral, Gauge, Integral

MAX_GAUGES: Final = 200  # of one transaction: it keeps closes out, so it must be over within tens of milliseconds

_log = logging.getLogger(__name__)


async def integrate_due(tx: Tx, meter: Meter, watermark_at: datetime, after: str) -> str | None:
    """Integrate gauges with new samples or ended windows up to the watermark, of tenants after `after` in order.

    Returns the last tenant where there may be more, None at the end.
    """
    await share_fence(tx)
    to_us = microseconds(watermark_at)
    due = await gauges.due(tx, meter.metric, to_us, meter.max_staleness_us, after=after, limit=MAX_GAUGES)
    if due:
        await _integrate_what_fits(tx, meter, due, to_us)
    return due[-1].tenant_id if len(due) == MAX_GAUGES else None


async def integrate_for_close(tx: Tx, meter: Meter, tenant_id: str, period: Span, through_us: int) -> None:
    """Make the windows of the tenant's `period` final: integrals up to `through_us`, and nothing after it.

    The fence is held, so no batch adds samples meanwhile. What lies after `through_us` in the period is integrated
    again later, and becomes adjustments.
    """
    gauge = await gauges.of_tenant(tx, meter.metric, tenant_id)
    if gauge is None:
        return
    start_us = max(period.start_us, window_of_us(min(gauge.settled_to_us, through_us)))
    samples = await gauges.samples_of(tx, meter.metric, [(tenant_id, start_us, through_us)], meter.max_staleness_us)
    values = integrals(samples.get(tenant_id, {}), Span(start_us, through_us), meter.max_staleness_us)
    open_windows = await gauges.windows_since(tx, tenant_id, meter.metric, start_us)
    touched = {*values, *(window_us for window_us in open_windows if window_us < period.end_us)}
    final = [Integral(tenant_id, window_us, values.get(window_us, 0), None) for window_us in sorted(touched)]
    await gauges.put_integrals(tx, meter.metric, final)
    dirty_us = through_us if gauge.dirty_from_us is None else min(gauge.dirty_from_us, through_us)
    await gauges.put_progress(tx, meter.metric, [(tenant_id, max(gauge.integrated_to_us, through_us), dirty_us)])


async def _integrate_what_fits(tx: Tx, meter: Meter, due: Sequence[Gauge], watermark_us: int) -> None:
    """Integrate these gauges but those whose values the store refuses: nobody's gauge holds up another tenant's."""
    try:
        async with tx.transaction():
            await _integrate(tx, meter, due, watermark_us)
    except Exception as error:
        if not is_poison(error):
            raise
        if len(due) == 1:
            # It stays due, is tried again on the next turn, and is seen in the log.
            _log.error("a gauge cannot be integrated: %s", error, extra={"gauge": repr(due[0]), "metric": meter.metric})
            return
    else:
        return
    middle = len(due) // 2
    await _integrate_what_fits(tx, meter, due[:middle], watermark_us)
    await _integrate_what_fits(tx, meter, due[middle:], watermark_us)


async def _integrate(tx: Tx, meter: Meter, due: Sequence[Gauge], watermark_us: int) -> None:
    stale_us = meter.max_staleness_us
    # The watermark may step back after a restart; what was integrated stays so.
    asked = [(one.tenant_id, window_of_us(one.settled_to_us), max(one.integrated_to_us, watermark_us)) for one in due]
    tenants = [one.tenant_id for one in due]
    samples = await gauges.samples_of(tx, meter.metric, asked, stale_us)
    levels = await gauges.last_levels(tx, meter.metric, tenants, watermark_us - stale_us)
    closed = await closed_periods(tx, tenants, min(from_us for _, from_us, _ in asked))
    found: list[Integral | FrozenIntegral] = []
    for tenant_id, from_us, to_us in asked:
        within = Span(from_us, to_us)
        values = integrals(samples.get(tenant_id, {}), within, stale_us)
        found += _windows(tenant_id, within, values, levels.get(tenant_id, 0), closed.get(tenant_id, ()))
    await _put(tx, meter.metric, found)
    # Samples later than the watermark wait for it: their gauge stays dirty from there.
    ends = [(one, to_us) for one, (_, _, to_us) in zip(due, asked, strict=True)]
    progress = [(one.tenant_id, to_us, to_us if one.latest_us >= to_us else None) for one, to_us in ends]
    await gauges.put_progress(tx, meter.metric, progress)


async def _put(tx: Tx, metric: str, found: Sequence[Integral | FrozenIntegral]) -> None:
    await gauges.put_integrals(tx, metric, [one for one in found if isinstance(one, Integral)])
    await gauges.put_differences(tx, metric, [one for one in found if isinstance(one, FrozenIntegral)])


def _windows(
    tenant_id: str, within: Span, values: Mapping[int, int], level: int, closed: Sequence[ClosedPeriod]
) -> Iterator[Integral | FrozenIntegral]:
    """Yield what each window of `within` is now; the newest also tells the level as last seen.

    Where the newest is frozen (its period was closed early) the first window after that period tells the level, with
    nothing in it yet: limits go by what is stored now, whatever was invoiced already.
    """
    newest_us = window_of_us(within.end_us)
    for window_us in range(within.start_us, within.end_us + 1, GRAIN_US):
        value = values.get(window_us, 0)
        period = closed_at({tenant_id: closed}, tenant_id, window_us)
        if period is None:
            yield Integral(tenant_id, window_us, value, level if window_us == newest_us else None)
            continue
        yield FrozenIntegral(period, window_us, value)
        if window_us == newest_us and closed_at({tenant_id: closed}, tenant_id, period.ends_us) is None:
            yield Integral(tenant_id, period.ends_us, 0, level)
