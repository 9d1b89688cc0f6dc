"""The rows of plans and of who is on which. All functions work in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import asyncpg

from libs.runtime.acts import Act
from libs.schemas.events import Limits, PlanAssignment, PlanChanged, PriceMap
from libs.schemas.values import TenantId
from libs.store.pool import Tx

_SEED_LOCK: Final = 0x6D61_6573_7175_6F01  # one process at a time compares the documents with the catalogue


async def lock_catalogue(tx: Tx) -> dict[str, PlanChanged]:
    """Return the newest version of every plan, and let no other process change the catalogue until `tx` ends."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _SEED_LOCK)
    return {plan.plan_id: plan for plan in await plans_after(tx, None, None)}


async def plans_after(tx: Tx, after: str | None, limit: int | None) -> Sequence[PlanChanged]:
    """Return the newest versions in order of their ids: those after the id `after`, at most `limit`."""
    return [_plan(row) for row in await tx.fetch(_PLANS_AFTER, after, limit)]


async def newest_version(tx: Tx, plan_id: str) -> int | None:
    """Return the newest version of a plan, None where there is no such plan."""
    version = await tx.fetchval("SELECT version FROM plans WHERE id = $1", plan_id)
    return None if version is None else int(version)


async def plan_at(tx: Tx, plan_id: str, version: int) -> PlanChanged | None:
    """Return one version of a plan, None where there is none."""
    row = await tx.fetchrow(_PLAN_AT, plan_id, version)
    return None if row is None else _plan(row)


async def add_plan_version(tx: Tx, plan: PlanChanged) -> None:
    """Add a version and make it the plan's newest."""
    limits, prices = plan.limits, plan.price_map
    await tx.execute(
        _ADD_PLAN_VERSION,
        plan.plan_id,
        plan.version,
        plan.name,
        limits.model_dump_json(),
        prices.gql_per_million,
        prices.ingest_per_k,
        plan.currency,
        plan.effective_at,
    )


async def lock_history(tx: Tx, tenant_id: TenantId) -> tuple[PlanAssignment, ...]:
    """Return the tenant's assignments, oldest first, and let no other transaction change them until `tx` ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('tenant_plan/' || $1, 0))", tenant_id)
    return await history_of(tx, tenant_id)


async def history_of(tx: Tx, tenant_id: TenantId) -> tuple[PlanAssignment, ...]:
    """Return the tenant's assignments, past and planned, oldest first."""
    rows = await tx.fetch(_HISTORY, tenant_id)
    return tuple(PlanAssignment(**dict(row)) for row in rows)


async def add_assignment(tx: Tx, tenant_id: TenantId, wanted: PlanAssignment, now: datetime, by: Act) -> None:
    """Add an assignment; the caller holds the history's lock."""
    await tx.execute(
        _ADD_ASSIGNMENT,
        tenant_id,
        wanted.plan_id,
        wanted.version,
        wanted.effective_at,
        now,
        by.actor,
        by.request_id,
        by.reason,
    )


async def put_in_force(tx: Tx, tenant_id: TenantId, held: PlanAssignment) -> None:
    """Say in `tenant_plan` that the tenant is on `held`; the caller holds the history's lock."""
    await tx.execute(_PUT_IN_FORCE, tenant_id, held.plan_id, held.version, held.effective_at)


async def begun_between(tx: Tx, after: datetime, until: datetime) -> Sequence[TenantId]:
    """Return the tenants with an assignment that began in (after, until]."""
    rows = await tx.fetch(_BEGUN_BETWEEN, after, until)
    return [TenantId(row["tenant_id"]) for row in rows]


async def withdraw(tx: Tx, tenant_id: TenantId, planned: Sequence[PlanAssignment], now: datetime) -> None:
    """Withdraw what was planned."""
    await tx.execute(_WITHDRAW, tenant_id, [one.effective_at for one in planned], now)


def _plan(row: asyncpg.Record) -> PlanChanged:
    prices = json.loads(row["price_map"], parse_int=Decimal, parse_float=Decimal)
    return PlanChanged(
        plan_id=row["plan_id"],
        version=row["version"],
        name=row["name"],
        limits=Limits.model_validate_json(row["limits"]),
        price_map=PriceMap(**prices),
        currency=row["currency"],
        effective_at=row["effective_at"],
    )


_PLANS_AFTER: Final = """
SELECT v.* FROM plans p JOIN plan_version v ON v.plan_id = p.id AND v.version = p.version
WHERE $1::text IS NULL OR p.id > $1 ORDER BY p.id LIMIT $2
"""
_PLAN_AT: Final = "SELECT * FROM plan_version WHERE plan_id = $1 AND version = $2"
# Prices are numbers in the document, exact as numeric is.
_ADD_PLAN_VERSION: Final = """
WITH given AS (
  SELECT $1::text AS id, $2::integer AS version, $3::text AS name, $4::jsonb AS limits,
    jsonb_build_object('gql_per_million', $5::numeric, 'ingest_per_k', $6::numeric) AS price_map, $7::text AS currency
), newest AS (
  INSERT INTO plans (id, name, limits, price_map, currency, version)
  SELECT id, name, limits, price_map, currency, version FROM given
  ON CONFLICT (id) DO UPDATE SET name = excluded.name, limits = excluded.limits, price_map = excluded.price_map,
    currency = excluded.currency, version = excluded.version
)
INSERT INTO plan_version (plan_id, version, name, limits, price_map, currency, effective_at)
SELECT id, version, name, limits, price_map, currency, $8 FROM given
"""
_HISTORY: Final = """
SELECT plan_id, version, effective_at FROM tenant_plan_history
WHERE tenant_id = $1 AND withdrawn_at IS NULL ORDER BY effective_at
"""
_ADD_ASSIGNMENT: Final = """
INSERT INTO tenant_plan_history
  (tenant_id, plan_id, version, effective_at, assigned_at, actor, request_id, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_WITHDRAW: Final = """
UPDATE tenant_plan_history SET withdrawn_at = $3
WHERE tenant_id = $1 AND effective_at = ANY($2) AND withdrawn_at IS NULL
"""
_PUT_IN_FORCE: Final = """
INSERT INTO tenant_plan (tenant_id, plan_id, version, effective_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id) DO UPDATE
SET plan_id = excluded.plan_id, version = excluded.version, effective_at = excluded.effective_at
"""
_BEGUN_BETWEEN: Final = """
SELECT DISTINCT tenant_id FROM tenant_plan_history
WHERE withdrawn_at IS NULL AND effective_at > $1 AND effective_at <= $2 ORDER BY tenant_id
"""
