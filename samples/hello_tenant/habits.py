"""The three tenants of the demo and what each of them does, at full size or smaller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from samples.hello_tenant.load.plan import TenantLoad
from samples.hello_tenant.maestro_http import Tenant


@dataclass(frozen=True, slots=True)
class Habits:
    """A tenant's plan and its load. The three stay near 130 calls a second: two cores carry that and the stack."""

    name: str
    plan_id: str
    calls: int
    calls_s: float
    batches: int
    batches_s: float
    events_per_batch: int
    storage_bytes: int
    storm_calls: int = 0
    storm_batch_events: int = 0


HELLO_TENANTS: Final = (
    Habits(
        name="Book Corner",
        plan_id="starter",
        calls=750,
        calls_s=32,
        batches=20,
        batches_s=1,
        events_per_batch=40,
        storage_bytes=3_141_592_653,
        storm_calls=600,  # the limit is 50 a second and its burst 50: a second of 40 workers passes both
        storm_batch_events=800,  # two of these at once pass the limit of 1000 events a second, one does not
    ),
    Habits(
        name="City Library",
        plan_id="pro",
        calls=850,
        calls_s=36,
        batches=20,
        batches_s=1,
        events_per_batch=75,
        storage_bytes=41_000_000_007,
    ),
    Habits(
        name="National Archive",
        plan_id="enterprise",
        calls=1400,
        calls_s=60,
        batches=40,
        batches_s=2,
        events_per_batch=250,
        storage_bytes=713_000_000_011,
    ),
)


def load_of(tenant: Tenant, habits: Habits) -> TenantLoad:
    """Return what the load client does as `tenant`."""
    return TenantLoad(
        tenant_id=tenant.tenant_id,
        name=habits.name,
        key=tenant.key,
        calls=habits.calls,
        calls_s=habits.calls_s,
        batches=habits.batches,
        batches_s=habits.batches_s,
        events_per_batch=habits.events_per_batch,
        storage_bytes=habits.storage_bytes,
        storm_calls=habits.storm_calls,
        storm_batch_events=habits.storm_batch_events,
    )


def scaled(habits: Habits, share: float) -> Habits:
    """Return the same habits for that share of the time: fewer calls at the same pace."""
    return replace(habits, calls=max(1, round(habits.calls * share)), batches=max(1, round(habits.batches * share)))
