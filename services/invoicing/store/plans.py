"""Copies of tenants, plan versions and the plans of tenants."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from libs.schemas.events import PlanAssignment, PriceMap, TenantChanged, TenantPlanChanged
from libs.schemas.values import TenantId
from libs.store.pool import Tx
from services.invoicing.domain.closing import Payer
from services.invoicing.domain.pricing import PlanHistory, PlanVersion
from services.invoicing.domain.windows import UNIT_OF


@dataclass(frozen=True, slots=True)
class TopicEnd:
    """Where a topic ended at some moment: the broker's topic id, and the offset after the last of each partition."""

    topic_id: UUID
    offsets: Mapping[int, int]


async def put_tenant(tx: Tx, tenant: TenantChanged) -> None:
    """Keep the tenant's billing zone, unless a newer change was kept already."""
    await tx.execute(_PUT_TENANT, tenant.tenant_id, tenant.billing_zone, tenant.changed_at)


async def payers_of(tx: Tx, tenant_ids: Collection[str] | None) -> dict[TenantId, Payer]:
    """Return each of `tenant_ids` (None: all) that is known, in order of the id.

    A tenant is known since its first plan or its first usage, whichever is earlier. Our copy's own `changed_at` moves
    with every change, so it only counts where it is the earliest: while neither of the two has come.
    """
    rows = await tx.fetch(_PAYERS, None if tenant_ids is None else list(tenant_ids), list(UNIT_OF))
    return {one.tenant_id: one for one in (Payer(**dict(row)) for row in rows)}


async def add_version(tx: Tx, plan: PlanVersion) -> PlanVersion:
    """Keep the version if it is new, and return what is now kept of it."""
    await tx.execute(_ADD_VERSION, plan.plan_id, plan.version, plan.currency, plan.prices.model_dump_json())
    row = await tx.fetchrow(_VERSION, plan.plan_id, plan.version)
    assert row is not None
    return _version(row)


async def put_assignments(tx: Tx, change: TenantPlanChanged) -> bool:
    """Keep exactly these assignments of the tenant, unless a newer change was kept already (then False)."""
    kept_at = await tx.fetchval(_ASSIGNED_AT, change.tenant_id)
    if kept_at is not None and kept_at > change.changed_at:
        return False
    await tx.execute("DELETE FROM tenant_plan_assignment WHERE tenant_id = $1", change.tenant_id)
    ordered = sorted(change.assignments, key=lambda assignment: assignment.effective_at)
    await tx.execute(
        _ADD_ASSIGNMENTS,
        change.tenant_id,
        change.changed_at,
        list(range(len(ordered))),
        [one.plan_id for one in ordered],
        [one.version for one in ordered],
        [one.effective_at for one in ordered],
    )
    return True


async def lagging(tx: Tx, ends: Mapping[str, TopicEnd]) -> str | None:
    """Return the first consumer of `ends` that has not taken all that stood before its end into these tables."""
    for consumer, end in ends.items():
        if not await _holds(tx, consumer, end):
            return consumer
    return None


async def _holds(tx: Tx, consumer: str, end: TopicEnd) -> bool:
    reached = {row["partition"]: row["next"] for row in await tx.fetch(_REACHED, consumer, end.topic_id)}
    return all(reached.get(partition, 0) >= offset for partition, offset in end.offsets.items())


async def history_of(tx: Tx, tenant_id: TenantId) -> PlanHistory:
    """Return the tenant's assignments, and of the versions that they name those that are known."""
    rows = await tx.fetch(_ASSIGNMENTS, tenant_id)
    versions = [_version(row) for row in await tx.fetch(_VERSIONS_OF_TENANT, tenant_id)]
    return PlanHistory(tuple(PlanAssignment(**dict(row)) for row in rows), {one.key: one for one in versions})


def _version(row: asyncpg.Record) -> PlanVersion:
    prices = PriceMap.model_validate_json(row["prices"])
    return PlanVersion(row["plan_id"], row["version"], row["currency"], prices)


_PUT_TENANT: Final = """
INSERT INTO tenant AS kept (tenant_id, billing_zone, changed_at) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id) DO UPDATE SET billing_zone = excluded.billing_zone, changed_at = excluded.changed_at
WHERE kept.changed_at <= excluded.changed_at
"""
_PAYERS: Final = """
SELECT t.tenant_id, t.billing_zone AS zone, least(
  t.changed_at,
  (SELECT min(effective_at) FROM tenant_plan_assignment AS a WHERE a.tenant_id = t.tenant_id),
  (SELECT min((SELECT min(window_start) FROM usage_window_copy AS w WHERE w.tenant_id = t.tenant_id AND w.metric = m))
   FROM unnest($2::text[]) AS m)
) AS since
FROM tenant AS t WHERE $1::text[] IS NULL OR t.tenant_id = ANY($1) ORDER BY t.tenant_id
"""
_ADD_VERSION: Final = """
INSERT INTO plan_version (plan_id, version, currency, prices) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
_VERSION: Final = "SELECT plan_id, version, currency, prices FROM plan_version WHERE plan_id = $1 AND version = $2"
_ASSIGNED_AT: Final = "SELECT changed_at FROM tenant_plan_assignment WHERE tenant_id = $1 LIMIT 1"
_ADD_ASSIGNMENTS: Final = """
INSERT INTO tenant_plan_assignment (tenant_id, changed_at, position, plan_id, version, effective_at)
SELECT $1, $2, one.* FROM unnest($3::int[], $4::text[], $5::int[], $6::timestamptz[]) AS one
"""
_ASSIGNMENTS: Final = """
SELECT plan_id, version, effective_at FROM tenant_plan_assignment WHERE tenant_id = $1 ORDER BY position
"""
_REACHED: Final = "SELECT partition, next FROM consumer_offset WHERE consumer = $1 AND topic_id = $2"
_VERSIONS_OF_TENANT: Final = """
SELECT plan_id, version, currency, prices FROM plan_version
WHERE (plan_id, version) IN (SELECT plan_id, version FROM tenant_plan_assignment WHERE tenant_id = $1)
"""
