"""Plans and assignments for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from libs.schemas.events import Limits, PlanAssignment, PlanChanged, PriceMap, TenantPlanChanged
from libs.schemas.values import TenantId

TENANT = TenantId("tnt_" + "a" * 20)
OTHER = TenantId("tnt_" + "b" * 20)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)

PRICES = PriceMap(gql_per_million=Decimal(2), ingest_per_k=Decimal("0.1"))


def plan(plan_id: str = "starter", version: int = 1, **limits: int) -> PlanChanged:
    allowed = {"qps": 50, "events_s": 1000, "storage_gb": 200} | limits
    return PlanChanged(
        plan_id=plan_id,
        version=version,
        name=plan_id.title(),
        limits=Limits(**allowed),
        price_map=PRICES,
        effective_at=NOON,
    )


def assignment(plan_id: str = "starter", version: int = 1, effective_at: datetime = NOON) -> PlanAssignment:
    return PlanAssignment(plan_id=plan_id, version=version, effective_at=effective_at)


def tenant_plan(*assignments: PlanAssignment, tenant_id: TenantId = TENANT) -> TenantPlanChanged:
    return TenantPlanChanged(tenant_id=tenant_id, assignments=assignments, changed_at=NOON)
