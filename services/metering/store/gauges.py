"""Samples of gauges, and how far they are integrated into windows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from asyncpg import Record

from libs.schemas.values import from_microseconds, microseconds
from libs.store.pool import Tx
from services.metering.domain.events import UsageEvent
from services.metering.domain.folding import ClosedPeriod
from services.metering.domain.gauges import Sample
from services.metering.domain.meters import Sampled
from services.metering.store.windows import NEVER_TOLD, TOLD


@dataclass(frozen=True, slots=True)
class Gauge:
    """A tenant's gauge: integrated up to `integrated_to_us`, but from `dirty_from_us` on samples came since."""

    tenant_id: str
    integrated_to_us: int
    dirty_from_us: int | None
    latest_us: int

    @property
    def settled_to_us(self) -> int:
        """Up to here the windows are what the samples say."""
        return self.integrated_to_us if self.dirty_from_us is None else min(self.integrated_to_us, self.dirty_from_us)


@dataclass(frozen=True, slots=True)
class Integral:
    """What an open window of a gauge is now."""

    tenant_id: str
    window_us: int
    value: int
    last_gauge: int | None


@dataclass(frozen=True, slots=True)
class FrozenIntegral:
    """What a window of a closed period would be now."""

    closed: ClosedPeriod
    window_us: int
    value: int


async def add_samples(tx: Tx, samples: Sequence[tuple[UsageEvent, Sampled]]) -> None:
    """Keep these samples, and mark their gauges to be integrated again from there."""
    if not samples:
        return
    order = sorted(samples, key=lambda one: (one[0].tenant_id, one[1].metric, one[1].resource, _place(one[0])))
    columns = (
        [event.tenant_id for event, _ in order],
        [sampled.metric for _, sampled in order],
        [sampled.resource for _, sampled in order],
        [event.time_us for event, _ in order],
        [event.source for event, _ in order],
        [event.id for event, _ in order],
        [sampled.level for _, sampled in order],
    )
    await tx.execute(_ADD_SAMPLES, *columns)
    await tx.execute(_ADD_RESOURCES, *columns)
    await mark(tx, samples)


async def mark(tx: Tx, samples: Sequence[tuple[UsageEvent, Sampled]]) -> None:
    """Have the gauges of these samples be integrated again from there."""
    await tx.execute(
        _MARK,
        [event.tenant_id for event, _ in samples],
        [sampled.metric for _, sampled in samples],
        [event.time_us for event, _ in samples],
    )


async def due(tx: Tx, metric: str, to_us: int, stale_after_us: int, *, after: str, limit: int) -> list[Gauge]:
    """Return and hold at most `limit` gauges of tenants after `after` that are behind their samples at `to_us`.

    These have samples to integrate, or a window that ended.
    """
    return [_gauge_of(row) for row in await tx.fetch(_DUE, metric, to_us, stale_after_us, limit, after)]


async def of_tenant(tx: Tx, metric: str, tenant_id: str) -> Gauge | None:
    """Return and hold the tenant's gauge, None where it never sent a sample."""
    row = await tx.fetchrow(_OF_TENANT, metric, tenant_id)
    return None if row is None else _gauge_of(row)


async def samples_of(
    tx: Tx, metric: str, gauges: Sequence[tuple[str, int, int]], stale_after_us: int
) -> dict[str, dict[str, list[Sample]]]:
    """Return what the integrals of [from, to) of each (tenant, from, to) need, by tenant and resource.

    That is the samples within, and for each resource the last one before that is not stale.
    """
    rows = await tx.fetch(
        _SAMPLES,
        metric,
        [tenant_id for tenant_id, _, _ in gauges],
        [from_us for _, from_us, _ in gauges],
        [to_us for _, _, to_us in gauges],
        stale_after_us,
    )
    found: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        sample = Sample(row["time_us"], row["source"], row["event_id"], row["level"])
        found[row["tenant_id"]][row["resource"]].append(sample)
    return found


async def last_levels(tx: Tx, metric: str, tenants: Sequence[str], since_us: int) -> dict[str, int]:
    """Return each tenant's level by the last sample of each resource, leaving out those of before `since_us`."""
    rows = await tx.fetch(_LAST_LEVELS, metric, tenants, since_us)
    return {row["tenant_id"]: int(row["level"]) for row in rows}


async def put_integrals(tx: Tx, metric: str, integrals: Sequence[Integral]) -> None:
    """Make these open windows what they are now; those that are so already, or are nothing, stay as they are."""
    if integrals:
        await tx.execute(
            _PUT,
            metric,
            [one.tenant_id for one in integrals],
            [from_microseconds(one.window_us) for one in integrals],
            [Decimal(one.value) for one in integrals],
            [None if one.last_gauge is None else Decimal(one.last_gauge) for one in integrals],
            None if metric in TOLD else NEVER_TOLD,
        )


async def put_differences(tx: Tx, metric: str, integrals: Sequence[FrozenIntegral]) -> None:
    """Keep as adjustments by how much windows of closed periods would differ from what was frozen."""
    if integrals:
        await tx.execute(
            _PUT_DIFFERENCES,
            metric,
            [one.closed.tenant_id for one in integrals],
            [from_microseconds(one.window_us) for one in integrals],
            [Decimal(one.value) for one in integrals],
            [one.closed.close_id for one in integrals],
            [one.closed.period for one in integrals],
        )


async def put_progress(tx: Tx, metric: str, progress: Sequence[tuple[str, int, int | None]]) -> None:
    """Note for each (tenant, integrated to, dirty from) how far its gauge is. The gauges are held."""
    await tx.execute(
        _PUT_PROGRESS,
        metric,
        [tenant_id for tenant_id, _, _ in progress],
        [to_us for _, to_us, _ in progress],
        [dirty_us for _, _, dirty_us in progress],
    )


async def windows_since(tx: Tx, tenant_id: str, metric: str, since_us: int) -> list[int]:
    """Return the starts of the tenant's open windows of this metric from `since_us` on."""
    rows = await tx.fetch(_WINDOWS_SINCE, tenant_id, metric, from_microseconds(since_us))
    return [microseconds(row["window_start"]) for row in rows]


def _place(event: UsageEvent) -> tuple[int, bytes, bytes]:
    return event.time_us, event.source.encode(), event.id.encode()


def _gauge_of(row: Record) -> Gauge:
    return Gauge(row["tenant_id"], row["integrated_to_us"], row["dirty_from_us"], row["latest_us"])


_GIVEN: Final = """
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[])
  AS given (tenant_id, metric, resource, time_us, source, event_id, level)
"""
_ADD_SAMPLES: Final = f"""
INSERT INTO gauge_sample (tenant_id, metric, resource, time_us, source, event_id, level) SELECT given.* {_GIVEN}
ON CONFLICT DO NOTHING
"""
_ADD_RESOURCES: Final = f"""
INSERT INTO gauge_resource AS mine (tenant_id, metric, resource, time_us, source, event_id, level)
SELECT DISTINCT ON (tenant_id COLLATE "C", metric COLLATE "C", resource COLLATE "C") given.* {_GIVEN}
ORDER BY tenant_id COLLATE "C", metric COLLATE "C", resource COLLATE "C",
  time_us DESC, source COLLATE "C" DESC, event_id COLLATE "C" DESC
ON CONFLICT (tenant_id, metric, resource) DO UPDATE
SET time_us = excluded.time_us, source = excluded.source, event_id = excluded.event_id, level = excluded.level
WHERE (mine.time_us, mine.source, mine.event_id) < (excluded.time_us, excluded.source, excluded.event_id)
"""
_MARK: Final = """
INSERT INTO gauge AS mine (tenant_id, metric, integrated_to_us, dirty_from_us, latest_us)
SELECT tenant_id, metric, min(time_us), min(time_us), max(time_us)
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (tenant_id, metric, time_us)
GROUP BY tenant_id, metric ORDER BY tenant_id COLLATE "C", metric COLLATE "C"
ON CONFLICT (tenant_id, metric) DO UPDATE
SET dirty_from_us = least(mine.dirty_from_us, excluded.dirty_from_us),
  latest_us = greatest(mine.latest_us, excluded.latest_us)
"""
_DUE: Final = """
SELECT tenant_id, integrated_to_us, dirty_from_us, latest_us FROM gauge
WHERE metric = $1 AND tenant_id > $5 AND (
  dirty_from_us IS NOT NULL
  OR (integrated_to_us < $2::bigint - $2::bigint % 900000000 AND latest_us + $3::bigint > integrated_to_us))
ORDER BY tenant_id LIMIT $4 FOR UPDATE SKIP LOCKED
"""
_OF_TENANT: Final = """
SELECT tenant_id, integrated_to_us, dirty_from_us, latest_us FROM gauge
WHERE metric = $1 AND tenant_id = $2 FOR UPDATE
"""
_SAMPLES: Final = """
SELECT asked.tenant_id, resource.resource, sample.time_us, sample.source, sample.event_id, sample.level
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS asked (tenant_id, from_us, to_us)
JOIN gauge_resource AS resource ON resource.tenant_id = asked.tenant_id AND resource.metric = $1
CROSS JOIN LATERAL (
  (SELECT time_us, source, event_id, level FROM gauge_sample
   WHERE tenant_id = resource.tenant_id AND metric = $1 AND resource = resource.resource
     AND time_us < asked.from_us AND time_us > asked.from_us - $5::bigint
   ORDER BY time_us DESC, source DESC, event_id DESC LIMIT 1)
  UNION ALL
  (SELECT time_us, source, event_id, level FROM gauge_sample
   WHERE tenant_id = resource.tenant_id AND metric = $1 AND resource = resource.resource
     AND time_us >= asked.from_us AND time_us < asked.to_us)
) AS sample
"""
_LAST_LEVELS: Final = """
SELECT tenant_id, sum(level) AS level FROM gauge_resource
WHERE metric = $1 AND tenant_id = ANY($2::text[]) AND time_us > $3 GROUP BY tenant_id
"""
_PUT: Final = """
INSERT INTO usage_window AS mine
  (tenant_id, metric, window_start, value, unit, last_gauge, store_epoch, seq, published_seq)
SELECT given.tenant_id, $1, given.window_start, given.value, 'By.us', given.last_gauge,
  (SELECT epoch FROM store_epoch), 1, $6::bigint
FROM unnest($2::text[], $3::timestamptz[], $4::numeric[], $5::numeric[])
  AS given (tenant_id, window_start, value, last_gauge)
WHERE given.value <> 0 OR given.last_gauge IS NOT NULL OR EXISTS (
  SELECT FROM usage_window AS old
  WHERE old.tenant_id = given.tenant_id AND old.metric = $1 AND old.window_start = given.window_start)
ORDER BY given.tenant_id COLLATE "C", given.window_start
ON CONFLICT (tenant_id, metric, window_start) DO UPDATE
SET value = excluded.value, last_gauge = coalesce(excluded.last_gauge, mine.last_gauge), seq = mine.seq + 1,
  store_epoch = excluded.store_epoch, published_seq = excluded.published_seq
WHERE mine.closed_in IS NULL AND (mine.value <> excluded.value
  OR mine.last_gauge IS DISTINCT FROM coalesce(excluded.last_gauge, mine.last_gauge))
"""
_PUT_DIFFERENCES: Final = """
INSERT INTO usage_adjustment AS mine
  (tenant_id, metric, window_start, key, close_id, period, value, unit, reason)
SELECT given.tenant_id, $1, given.window_start, '00000000-0000-0000-0000-000000000000', given.close_id, given.period,
  given.value - coalesce(frozen.value, 0), 'By.us', 'gauge_changed'
FROM unnest($2::text[], $3::timestamptz[], $4::numeric[], $5::text[], $6::text[])
  AS given (tenant_id, window_start, value, close_id, period)
LEFT JOIN usage_window AS frozen ON frozen.tenant_id = given.tenant_id AND frozen.metric = $1
  AND frozen.window_start = given.window_start
LEFT JOIN usage_adjustment AS old ON old.tenant_id = given.tenant_id AND old.metric = $1
  AND old.window_start = given.window_start AND old.key = '00000000-0000-0000-0000-000000000000'
WHERE given.value - coalesce(frozen.value, 0) <> coalesce(old.value, 0)
ON CONFLICT (tenant_id, metric, window_start, key) DO UPDATE SET value = excluded.value, changed_at = now()
"""
_PUT_PROGRESS: Final = """
UPDATE gauge AS mine SET integrated_to_us = told.to_us, dirty_from_us = told.dirty_us
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS told (tenant_id, to_us, dirty_us)
WHERE mine.metric = $1 AND mine.tenant_id = told.tenant_id
"""
_WINDOWS_SINCE: Final = """
SELECT window_start FROM usage_window
WHERE tenant_id = $1 AND metric = $2 AND window_start >= $3 AND closed_in IS NULL ORDER BY window_start
"""
