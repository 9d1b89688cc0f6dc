"""The HTTP API of quota. Bodies and answers are shaped here; what is allowed is decided in domain."""

from __future__ import annotations

from typing import Annotated, Final, Self

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from libs.access.bearer import MAX_CREDENTIAL_CHARS
from libs.access.errors import TenantRequired, WrongTenant
from libs.access.request import ACT_REFUSALS, Acting, Address, Caller
from libs.runtime.errors import Forbidden, NotFound, TooLarge
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import refusals
from libs.runtime.paging import DEFAULT_LIMIT, MAX_LIMIT, MalformedCursor, Page, page_of, place_of
from libs.schemas.events import Limits, PlanChanged, PriceMap
from libs.schemas.values import AnyTenantId, Instant, TenantId
from libs.store.opening import Pools
from libs.store.pool import transaction
from services.quota.domain.gcra import MAX_PER_S
from services.quota.domain.limits import Limit
from services.quota.errors import (
    CallerTooManyAttempts,
    CallerUnauthenticated,
    CostExceedsBurst,
    LimitReached,
    PlanChangeTooEarly,
    PlanPending,
    QuotaUnavailable,
    UnknownPlan,
)
from services.quota.handlers import Assigning, Checking, Held, Question
from services.quota.store.plans import plans_after

MAX_BODY_BYTES: Final = 16_384  # the largest question, with a token in it, is half of this
MAX_NAME_CHARS: Final = 256  # more than any tenant id has

PlanId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]

router = StrictRouter(
    prefix="/v1",
    max_body_size=MAX_BODY_BYTES,
    responses=refusals(TooLarge),
)


class Body(BaseModel):
    """What a request may say: exactly its fields, so that a misspelt one is not silently left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CheckBody(Body):
    """May `cost` of `limit` pass now?

    A tenant's own key names nobody; an edge names the tenant, or passes on the API key or token that it was called
    with as `token`. `storage_gb` compares what is stored and ignores the cost.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"limit": "qps", "cost": 1, "tenant": "tnt_aaaaaaaaaaaaaaaaaaaa"}]}
    )

    limit: Limit
    cost: int = Field(1, ge=1, le=MAX_PER_S, strict=True)
    tenant: str | None = Field(None, max_length=MAX_NAME_CHARS)
    token: str | None = Field(None, max_length=MAX_CREDENTIAL_CHARS)

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.tenant is not None and self.token is not None:
            raise ValueError("name the tenant or pass on its token, not both")
        return self


class PlanNamed(BaseModel):
    """Which version of which plan."""

    id: str
    version: int


class CheckAnswer(BaseModel):
    """Yes. What remains is in the limit's unit; `reset_s` is null for storage, which no time restores."""

    allowed: bool = True
    tenant: str
    limit: Limit
    remaining: int
    reset_s: int | None
    plan: PlanNamed


class PlanShown(BaseModel):
    """One version of a plan."""

    id: str
    version: int
    name: str
    limits: Limits
    price_map: PriceMap
    currency: str
    effective_at: Instant

    @classmethod
    def of(cls, plan: PlanChanged) -> Self:
        """Show a plan."""
        return cls(id=plan.plan_id, **plan.model_dump(exclude={"plan_id"}))


class PlanBody(Body):
    """The plan to be on, from `effective_at` on; without it, from now on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"plan_id": "pro", "effective_at": "2030-01-01T00:00:00Z"}]}
    )

    plan_id: PlanId
    effective_at: Instant | None = None


class PlannedShown(BaseModel):
    """A change that is to come."""

    plan: PlanNamed
    effective_at: Instant


class TenantPlanShown(BaseModel):
    """The plan that a tenant is on, since when, and what is planned."""

    tenant_id: str
    plan: PlanShown
    effective_at: Instant
    planned: list[PlannedShown]

    @classmethod
    def of(cls, tenant_id: TenantId, held: Held) -> Self:
        """Show what a tenant holds."""
        planned = [
            PlannedShown(plan=PlanNamed(id=one.plan_id, version=one.version), effective_at=one.effective_at)
            for one in held.planned
        ]
        return cls(tenant_id=tenant_id, plan=PlanShown.of(held.plan), effective_at=held.effective_at, planned=planned)


async def checking_of(request: Request) -> Checking:
    """Return what the wiring put there."""
    checking: Checking = request.app.state.checking
    return checking


async def assigning_of(request: Request) -> Assigning:
    """Return what the wiring put there."""
    assigning: Assigning = request.app.state.assigning
    return assigning


async def pools_of(request: Request) -> Pools:
    """Return the connections that the wiring put there."""
    pools: Pools = request.app.state.pools
    return pools


Desk = Annotated[Assigning, Depends(assigning_of)]
Db = Annotated[Pools, Depends(pools_of)]


@router.post(
    "/check",
    responses=refusals(
        *(TenantRequired, CallerUnauthenticated, CallerTooManyAttempts, Forbidden, WrongTenant),
        *(CostExceedsBurst, LimitReached, QuotaUnavailable, PlanPending),
    ),
)
async def check(
    body: CheckBody,
    caller: Caller,
    address: Address,
    checking: Annotated[Checking, Depends(checking_of)],
    response: Response,
) -> CheckAnswer:
    """Spend `cost` of a tenant's limit, if it is there: 200 yes, 429 not now, 422 never, 503 not known."""
    standing = await checking.check(caller, Question(body.limit, body.cost, body.tenant, body.token, address))
    response.headers.update(standing.fields)
    return CheckAnswer(
        tenant=standing.tenant_id,
        limit=standing.limit,
        remaining=standing.remaining,
        reset_s=standing.reset_s,
        plan=PlanNamed(id=standing.plan.plan_id, version=standing.plan.version),
    )


@router.get("/plans", responses=refusals(MalformedCursor))
async def list_plans(
    _: Caller,
    db: Db,
    cursor: Annotated[str | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
) -> Page[PlanShown]:
    """List the plans, each in its newest version, in order of their ids."""
    place = place_of(cursor, str)
    async with transaction(db.api) as tx:
        found = await plans_after(tx, place[0] if place else None, limit + 1)
    return page_of(found, limit, PlanShown.of, lambda plan: (plan.plan_id,))


@router.get("/tenants/{tenant_id}/plan", responses=refusals(Forbidden, NotFound))
async def get_tenant_plan(tenant_id: AnyTenantId, caller: Caller, desk: Desk, db: Db) -> TenantPlanShown:
    """Return the plan that a tenant is on; another's is not found."""
    caller.require("quota:check", "quota:write")
    visible = caller.reading(tenant_id)
    async with transaction(db.api, tenant=visible) as tx:
        return TenantPlanShown.of(visible, await desk.held(tx, visible))


@router.put(
    "/tenants/{tenant_id}/plan",
    responses=refusals(*ACT_REFUSALS, Forbidden, NotFound, PlanChangeTooEarly, UnknownPlan, PlanPending),
)
async def put_tenant_plan(
    tenant_id: AnyTenantId, body: PlanBody, caller: Caller, act: Acting, desk: Desk, db: Db
) -> TenantPlanShown:
    """Put a tenant on the newest version of a plan. The same again changes nothing; limiters follow within a second."""
    caller.require("quota:write")
    known = caller.tenant(tenant_id)
    async with transaction(db.api, tenant=known) as tx:
        return TenantPlanShown.of(known, await desk.assign(tx, known, body.plan_id, body.effective_at, act))
