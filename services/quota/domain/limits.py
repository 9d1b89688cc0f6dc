"""A check and its answer: what is asked, what a plan allows of it, and the words and HTTP fields of yes and no.

Source of the fields and of the problem type: draft-ietf-httpapi-ratelimit-headers-11 (structured fields, RFC 9651).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from libs.schemas.events import PlanChanged
from libs.schemas.values import TenantId
from services.quota.domain.gcra import Rate, Verdict, ceil_div
from services.quota.errors import CostExceedsBurst, LimitReached

RateLimit = Literal["qps", "events_s"]
Limit = Literal["qps", "events_s", "storage_gb"]

RATE_LIMITS: Final[tuple[RateLimit, ...]] = get_args(RateLimit)
BYTES_PER_GB: Final = 1_000_000_000
US_PER_S: Final = 1_000_000
RATE_WINDOW_S: Final = 1  # `qps` and `events_s` are per second, and so is the burst
STORAGE_RETRY_S: Final = 60  # usage of storage is sampled by the minute: asking sooner gets the same answer

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"

_UNIT: Final[dict[Limit, str]] = {
    "qps": "requests a second",
    "events_s": "events a second",
    "storage_gb": "GB of storage",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a tenant stands at one limit after a check. `remaining` is in the limit's unit, rounded down.

    `reset_s` is in how many seconds, rounded up, the quota is whole again; None for storage, which no time restores.
    """

    tenant_id: TenantId
    limit: Limit
    plan: PlanChanged
    remaining: int
    reset_s: int | None

    @property
    def quota(self) -> int:
        """What the plan allows."""
        return allowed_by(self.plan, self.limit)

    @property
    def fields(self) -> dict[str, str]:
        """RateLimit-Policy, which stays the same from answer to answer, and RateLimit, which does not."""
        window = "" if self.reset_s is None else f";w={RATE_WINDOW_S}"
        reset = "" if self.reset_s is None else f";t={self.reset_s}"
        return {
            "ratelimit-policy": f'"{self.limit}";q={self.quota}{window}',
            "ratelimit": f'"{self.limit}";r={self.remaining}{reset}',
        }


def allowed_by(plan: PlanChanged, limit: Limit) -> int:
    """Return what `plan` allows of `limit`, in the limit's unit."""
    return {"qps": plan.limits.qps, "events_s": plan.limits.events_s, "storage_gb": plan.limits.storage_gb}[limit]


def rate_of(plan: PlanChanged, limit: RateLimit, cost: int) -> Rate:
    """Return the rate of `limit` in `plan`; raise CostExceedsBurst where `cost` can never pass."""
    rate = Rate.with_one_second_of_burst(allowed_by(plan, limit))
    if cost > rate.burst:
        raise CostExceedsBurst(
            f"the request costs {cost} and {plan.name} admits at most {rate.burst} {_UNIT[limit]}: split it",
            limit=limit,
            cost=cost,
            burst=rate.burst,
        )
    return rate


def rate_standing(tenant_id: TenantId, limit: RateLimit, plan: PlanChanged, verdict: Verdict) -> Standing:
    """Return where the tenant stands after an admitted request; raise LimitReached after a refused one."""
    if verdict.allowed:
        return Standing(tenant_id, limit, plan, verdict.remaining, ceil_div(verdict.reset_us, US_PER_S))
    # The window that is said ends with Retry-After: the draft wants it no later (section 6).
    retry_after_s = ceil_div(verdict.retry_after_us, US_PER_S)
    standing = Standing(tenant_id, limit, plan, verdict.remaining, retry_after_s)
    raise _limit_reached(standing, retry_after_s, retry_after_us=verdict.retry_after_us)


def storage_standing(tenant_id: TenantId, plan: PlanChanged, stored_bytes: int) -> Standing:
    """Return where the tenant stands with `stored_bytes`; raise LimitReached where not one byte more fits."""
    left = max(0, plan.limits.storage_gb * BYTES_PER_GB - stored_bytes)
    standing = Standing(tenant_id, "storage_gb", plan, left // BYTES_PER_GB, None)
    if left:
        return standing
    raise _limit_reached(standing, STORAGE_RETRY_S, stored_bytes=stored_bytes)


def _limit_reached(standing: Standing, retry_after_s: int, **members: object) -> LimitReached:
    advice = f"Try again in {retry_after_s} second{'s' if retry_after_s > 1 else ''}"
    if standing.limit == "storage_gb":
        advice = "Delete something"
    return LimitReached(
        f"{standing.plan.name} allows {standing.quota} {_UNIT[standing.limit]}. {advice}, or move to a larger plan.",
        standing.fields | {"retry-after": str(retry_after_s)},
        type=QUOTA_EXCEEDED,
        retryAfter=retry_after_s,
        **{"violated-policies": [standing.limit]},
        allowed=False,
        tenant=standing.tenant_id,
        limit=standing.limit,
        remaining=standing.remaining,
        reset_s=standing.reset_s,
        plan={"id": standing.plan.plan_id, "version": standing.plan.version},
        **members,
    )
