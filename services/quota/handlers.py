"""What quota does when asked or told: load, decide (domain), save, say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.access.bearer import HOW
from libs.access.door import Door
from libs.access.errors import TooManyAttempts
from libs.access.peers import UNKNOWN
from libs.access.principal import Principal
from libs.bus.audit import record_change
from libs.bus.envelope import Received
from libs.bus.outbox import say
from libs.runtime.acts import Act
from libs.runtime.clock import Clock
from libs.runtime.errors import NotFound, Unauthenticated
from libs.schemas.events import PlanAssignment, PlanChanged, TenantChanged, TenantPlanChanged, WindowTotalled
from libs.schemas.values import TenantId, window_of
from libs.store.pool import Pool, Tx, transaction
from services.quota.domain.catalogue import PlanDocument, new_versions
from services.quota.domain.limits import Limit, Standing, rate_of, rate_standing, storage_standing
from services.quota.domain.plans import PlanTable, in_force, plan_change, reassign
from services.quota.errors import CallerTooManyAttempts, CallerUnauthenticated, LimitReached, PlanPending, UnknownPlan
from services.quota.metrics import count_decision
from services.quota.store import gauges, plans
from services.quota.store.limiter import Limiter

SERVICE = "quota"
PLANS_TOPIC = "plan-changes"


@dataclass(frozen=True, slots=True)
class Question:
    """May `cost` of `limit` pass now? For the tenant named, or the holder of `token` (API key or JWT), or the asker.

    `address` is where the question comes from: wrong tokens are counted for it.
    """

    limit: Limit
    cost: int = 1
    tenant: str | None = None
    token: str | None = None
    address: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class Checking:
    """Answers checks. All it needs but the bucket itself, and a gauge, is in memory."""

    door: Door
    plan_table: PlanTable
    limiter: Limiter
    pool: Pool
    clock: Clock

    async def check(self, caller: Principal, asked: Question) -> Standing:
        """Return where the tenant stands after a yes.

        Raises:
            LimitReached, CostExceedsBurst: the answer is no; later, or never.
            CallerUnauthenticated, WrongTenant: the question is not about a tenant that the caller may ask for.
            CallerTooManyAttempts: too many of these came from the address, and this token is not looked at.
            QuotaUnavailable, PlanPending: not known now.

        """
        caller.require("quota:check")
        tenant_id = await self._tenant(caller, asked)
        plan = self.plan_table.in_force(tenant_id, self.clock.now())
        try:
            standing = await self._standing(tenant_id, plan, asked)
        except LimitReached:
            count_decision(asked.limit, admitted=False)
            raise
        count_decision(asked.limit, admitted=True)
        return standing

    async def _standing(self, tenant_id: TenantId, plan: PlanChanged, asked: Question) -> Standing:
        if asked.limit == "storage_gb":
            async with transaction(self.pool, tenant=tenant_id) as tx:
                stored_bytes = await gauges.stored_bytes_of(tx, tenant_id)
            return storage_standing(tenant_id, plan, stored_bytes)
        rate = rate_of(plan, asked.limit, asked.cost)
        verdict = await self.limiter.spend(tenant_id, asked.limit, rate, asked.cost)
        return rate_standing(tenant_id, asked.limit, plan, verdict)

    async def _tenant(self, caller: Principal, asked: Question) -> TenantId:
        if asked.token is None:
            return caller.tenant(asked.tenant)
        try:
            holder = await self.door.holder(asked.token, asked.address)
        except Unauthenticated as error:
            raise CallerUnauthenticated(HOW) from error
        except TooManyAttempts as error:
            raise CallerTooManyAttempts(
                "too many wrong keys were passed on from this address: refuse whoever sends them, and wait",
                retry_after_s=error.retry_after_s,
            ) from error
        if holder.tenant_id is None:
            raise CallerUnauthenticated(f"a key of kind {holder.kind} is no tenant's: call with a tenant's own key")
        return caller.tenant(holder.tenant_id)


@dataclass(frozen=True, slots=True)
class Held:
    """The plan that a tenant is on, since when, and what is planned."""

    plan: PlanChanged
    effective_at: datetime
    planned: Sequence[PlanAssignment]


@dataclass(frozen=True, slots=True)
class Assigning:
    """Says which plans there are and who is on which."""

    clock: Clock

    async def seed(self, tx: Tx, documents: Sequence[PlanDocument]) -> Sequence[PlanChanged]:
        """Add to the catalogue what `documents` say newly, and return it; the same documents again change nothing."""
        added = new_versions(documents, await plans.lock_catalogue(tx), self.clock.now())
        for plan in added:
            await plans.add_plan_version(tx, plan)
            await say(tx, PLANS_TOPIC, plan, key=f"plan/{plan.plan_id}/{plan.version}")
        return added

    async def on_tenant_changed(self, tx: Tx, received: Received[TenantChanged]) -> None:
        """Give a tenant that is seen for the first time the plan it was registered with; UnknownPlan sets it aside.

        The plan is in force from the start of the quarter of an hour in which the tenant came to be, so that no window
        of its usage lies before it.
        """
        tenant = received.data
        if await plans.lock_history(tx, tenant.tenant_id):
            return
        now = self.clock.now()
        first = await self._newest(tx, tenant.plan_id, window_of(min(tenant.changed_at, now)))
        await plans.add_assignment(tx, tenant.tenant_id, first, now, Act("registration", received.meta.id))
        await self._told(tx, tenant.tenant_id, now)

    async def assign(self, tx: Tx, tenant_id: TenantId, plan_id: str, effective_at: datetime | None, by: Act) -> Held:
        """Put the tenant on the newest version of a plan from `effective_at` (now) on; what already is changes nothing.

        Raises UnknownPlan, PlanChangeTooEarly, and PlanPending for a tenant whose first plan is on its way.
        """
        history = await plans.lock_history(tx, tenant_id)
        if not history:
            raise PlanPending("the tenant is new and its first plan is on its way; try again in a second")
        now = self.clock.now()
        change = reassign(history, await self._newest(tx, plan_id, effective_at or now), now)
        if change is not None:
            await plans.withdraw(tx, tenant_id, change.withdrawn, now)
            if change.added is not None:
                await plans.add_assignment(tx, tenant_id, change.added, now, by)
            await record_change(tx, SERVICE, by, plan_change(tenant_id, change, now))
            await self._told(tx, tenant_id, now)
        return await self.held(tx, tenant_id)

    async def held(self, tx: Tx, tenant_id: TenantId) -> Held:
        """Return what the tenant is on; raise NotFound where nothing is known of it."""
        now = self.clock.now()
        history = await plans.history_of(tx, tenant_id)
        current = in_force(history, now)
        plan = None if current is None else await plans.plan_at(tx, current.plan_id, current.version)
        if current is None or plan is None:
            raise NotFound("there is no such tenant, or its first plan is on its way")
        return Held(plan, current.effective_at, [one for one in history if one.effective_at > now])

    async def _newest(self, tx: Tx, plan_id: str, effective_at: datetime) -> PlanAssignment:
        version = await plans.newest_version(tx, plan_id)
        if version is None:
            raise UnknownPlan(f"there is no plan {plan_id[:32]!r}; GET /v1/plans lists them")
        return PlanAssignment(plan_id=plan_id, version=version, effective_at=effective_at)

    async def _told(self, tx: Tx, tenant_id: TenantId, now: datetime) -> None:
        history = await put_in_force(tx, tenant_id, now)
        fact = TenantPlanChanged(tenant_id=tenant_id, assignments=history, changed_at=now)
        await say(tx, PLANS_TOPIC, fact, key=f"tenant/{tenant_id}")


async def put_in_force(tx: Tx, tenant_id: TenantId, now: datetime) -> tuple[PlanAssignment, ...]:
    """Make `tenant_plan` say what is in force at `now`, and return the tenant's history."""
    history = await plans.lock_history(tx, tenant_id)
    current = in_force(history, now)
    if current is not None:
        await plans.put_in_force(tx, tenant_id, current)
    return history


async def keep_gauge(tx: Tx, received: Received[WindowTotalled]) -> None:
    """Keep what the tenant stores, where the window says it."""
    window = received.data
    if window.last_gauge is None:
        return
    await gauges.keep_gauge(
        tx,
        window.tenant_id,
        window.last_gauge,
        store_epoch=window.store_epoch,
        window_start=window.window_start,
        seq=window.seq,
    )
