"""Samples of gauges that corrections take out; their gauges are integrated again from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from libs.store.pool import Tx
from services.metering.domain.events import UsageEvent
from services.metering.domain.meters import Sampled
from services.metering.store import gauges


async def take_out(tx: Tx, samples: Sequence[tuple[UsageEvent, Sampled]]) -> None:
    """Take these samples out.

    A batch that adds to one of their resources waits for `tx`, or was waited for: then the last sample is its one.
    """
    if not samples:
        return
    await _take_out(tx, samples)
    resources = sorted({(event.tenant_id, sampled.metric, sampled.resource) for event, sampled in samples})
    columns = [list(column) for column in zip(*resources, strict=True)]
    await tx.execute(_HOLD_RESOURCES, *columns)
    await tx.execute(_REMOVE_RESOURCES, *columns)
    await tx.execute(_LAST_AGAIN, *columns)


async def mark_taken_out(tx: Tx, samples: Sequence[tuple[UsageEvent, Sampled]]) -> None:
    """Have the gauges of these samples be integrated again. After all else, as batches do: gauges are held last."""
    if not samples:
        return
    await gauges.mark(tx, samples)
    marked = sorted({(event.tenant_id, sampled.metric) for event, sampled in samples})
    await tx.execute(_LATEST_AGAIN, *(list(column) for column in zip(*marked, strict=True)))


async def _take_out(tx: Tx, samples: Sequence[tuple[UsageEvent, Sampled]]) -> None:
    await tx.execute(
        _REMOVE_SAMPLES,
        [event.tenant_id for event, _ in samples],
        [sampled.metric for _, sampled in samples],
        [sampled.resource for _, sampled in samples],
        [event.time_us for event, _ in samples],
        [event.source for event, _ in samples],
        [event.id for event, _ in samples],
    )


_REMOVE_SAMPLES: Final = """
DELETE FROM gauge_sample AS mine
USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])
  AS given (tenant_id, metric, resource, time_us, source, event_id)
WHERE mine.tenant_id = given.tenant_id AND mine.metric = given.metric AND mine.resource = given.resource
  AND mine.time_us = given.time_us AND mine.source = given.source AND mine.event_id = given.event_id
"""
_HOLD_RESOURCES: Final = """
SELECT FROM gauge_resource AS mine
JOIN unnest($1::text[], $2::text[], $3::text[]) AS given (tenant_id, metric, resource)
  USING (tenant_id, metric, resource)
ORDER BY mine.tenant_id, mine.metric, mine.resource FOR UPDATE OF mine
"""
_REMOVE_RESOURCES: Final = """
DELETE FROM gauge_resource AS mine
USING unnest($1::text[], $2::text[], $3::text[]) AS given (tenant_id, metric, resource)
WHERE mine.tenant_id = given.tenant_id AND mine.metric = given.metric AND mine.resource = given.resource
"""
_LAST_AGAIN: Final = """
INSERT INTO gauge_resource AS mine (tenant_id, metric, resource, time_us, source, event_id, level)
SELECT last.* FROM unnest($1::text[], $2::text[], $3::text[]) AS given (tenant_id, metric, resource)
CROSS JOIN LATERAL (
  SELECT tenant_id, metric, resource, time_us, source, event_id, level FROM gauge_sample
  WHERE tenant_id = given.tenant_id AND metric = given.metric AND resource = given.resource
  ORDER BY time_us DESC, source DESC, event_id DESC LIMIT 1) AS last
ON CONFLICT (tenant_id, metric, resource) DO UPDATE
SET time_us = excluded.time_us, source = excluded.source, event_id = excluded.event_id, level = excluded.level
WHERE (mine.time_us, mine.source, mine.event_id) < (excluded.time_us, excluded.source, excluded.event_id)
"""
_LATEST_AGAIN: Final = """
UPDATE gauge AS mine SET latest_us = last.time_us
FROM (SELECT tenant_id, metric, max(time_us) AS time_us FROM gauge_resource
  WHERE (tenant_id, metric) IN (SELECT * FROM unnest($1::text[], $2::text[])) GROUP BY tenant_id, metric) AS last
WHERE mine.tenant_id = last.tenant_id AND mine.metric = last.metric
"""
