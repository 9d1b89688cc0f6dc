"""Keys, tenants and directories for tests, made from a seed so that a failing run can be repeated."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime
from typing import Any

from libs.access.directory import Directory
from libs.access.door import Door
from libs.access.keys import ApiKey, Randomness, new_key
from libs.runtime.clock import Clock, ManualClock
from libs.schemas.events import KeyChanged, KeyKind, TenantChanged
from libs.schemas.values import TenantId

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
ENV = "local"
WHY = {"maestro-reason": "a test"}  # what operators have to say of every change


def tenant_id(number: int) -> TenantId:
    """Return the tenant id of a small number."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return TenantId("tnt_" + "a" * 18 + letters[number // 32 % 32] + letters[number % 32])


def tenant_changed(tenant: TenantId, **changes: Any) -> TenantChanged:
    """Return an active tenant as tenant-changes says it."""
    fields: dict[str, Any] = {"name": "Acme", "region": "local-1", "plan_id": "starter", "changed_at": NOW}
    return TenantChanged(tenant_id=tenant, **(fields | changes))


def key_changed(key: ApiKey, kind: KeyKind, **changes: Any) -> KeyChanged:
    """Return a live key as tenant-changes says it."""
    fields: dict[str, Any] = {"scopes": ("usage:write",), "changed_at": NOW}
    return KeyChanged(key_id=key.key_id, digest=key.digest.hex(), kind=kind, **(fields | changes))


def seeded(seed: int) -> Randomness:
    """Return a source of bytes that another run repeats; every call gives new ones."""
    calls = itertools.count()
    return lambda size: hashlib.shake_256(f"{seed} {next(calls)}".encode()).digest(size)


def api_key(seed: int, env: str = ENV) -> ApiKey:
    """Return the key of a seed."""
    return new_key(env, seeded(seed))


def directory_of(*said: TenantChanged | KeyChanged) -> Directory:
    """Return a directory that is caught up with what was said."""
    directory = Directory(ENV)
    for one in said:
        if isinstance(one, TenantChanged):
            directory.on_tenant_changed(one)
        else:
            directory.on_key_changed(one)
    directory.trust()
    return directory


def door_of(*said: TenantChanged | KeyChanged, clock: Clock | None = None) -> Door:
    """Return a door that knows what was said."""
    return Door(directory_of(*said), clock or ManualClock(NOW))


def bearer(key: ApiKey) -> str:
    """Return the Authorization header of a key."""
    return f"Bearer {key.text}"
