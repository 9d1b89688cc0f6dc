"""The rows of identity: tenants, API keys, the record of changes. All functions work in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg

from libs.bus.audit import Change
from libs.runtime.acts import Act
from libs.schemas.events import KeyKind
from libs.schemas.values import TenantId
from libs.store.pool import Tx
from services.identity.domain import Key, Tenant

MIGRATIONS: Final = Path(__file__).parent / "migrations"

After = tuple[datetime, str]
"""Where the page before ended: (created_at, id) of its last row."""

_SETUP_LOCK: Final = 0x6D61_6573_6964_0001  # one process at a time adopts the operator's key


async def insert_tenant(tx: Tx, tenant: Tenant) -> None:
    """Add a new tenant."""
    await tx.execute(
        _INSERT_TENANT,
        tenant.tenant_id,
        tenant.name,
        tenant.status,
        tenant.region,
        tenant.billing_zone,
        tenant.plan_id,
        tenant.created_at,
        tenant.changed_at,
    )


async def tenant_by_id(tx: Tx, tenant_id: str) -> Tenant | None:
    """Return the tenant, None where there is none."""
    row = await tx.fetchrow(_TENANT_BY_ID, tenant_id)
    return None if row is None else _tenant(row)


async def lock_tenant(tx: Tx, tenant_id: TenantId) -> bool:
    """Hold the tenant's row, so that its keys are counted and added by one at a time; False where there is none."""
    return await tx.fetchval(_LOCK_TENANT, tenant_id) is not None


async def tenants_after(
    tx: Tx, after: After | None, limit: int, visible: Collection[TenantId] | None
) -> Sequence[Tenant]:
    """Return up to `limit` tenants in order of (created_at, id), only those in `visible` unless it is None."""
    rows = await tx.fetch(_TENANTS_AFTER, *(after or (None, None)), limit, _texts(visible))
    return [_tenant(row) for row in rows]


async def known_of(tx: Tx, tenant_ids: Collection[TenantId]) -> frozenset[TenantId]:
    """Return those of `tenant_ids` that exist."""
    rows = await tx.fetch("SELECT tenant_id FROM tenant WHERE tenant_id = ANY($1)", list(tenant_ids))
    return frozenset(TenantId(row["tenant_id"]) for row in rows)


async def insert_key(tx: Tx, key: Key) -> None:
    """Add a new key."""
    await tx.execute(
        _INSERT_KEY,
        key.key_id,
        key.name,
        key.digest,
        key.kind,
        key.tenant_id,
        list(key.scopes),
        list(key.act_for),
        key.created_at,
        key.expires_at,
        key.revoked_at,
        key.changed_at,
    )


async def update_key(tx: Tx, key: Key) -> None:
    """Store what can change of the operator's key: its digest and scopes, and its revocation. The API role may not."""
    await tx.execute(_UPDATE_KEY, key.key_id, key.digest, list(key.scopes), key.revoked_at, key.changed_at)


async def revoke_key(tx: Tx, key: Key) -> None:
    """Store that the key is revoked."""
    await tx.execute(_REVOKE_KEY, key.key_id, key.revoked_at, key.changed_at)


async def lock_key(tx: Tx, key_id: str) -> Key | None:
    """Return the key and hold its row until the end of the transaction; None where there is none."""
    row = await tx.fetchrow(_LOCK_KEY, key_id)
    return None if row is None else _key(row)


async def keys_after(tx: Tx, after: After | None, limit: int, visible: Collection[TenantId] | None) -> Sequence[Key]:
    """Return up to `limit` keys in order of (created_at, id), only those of the tenants `visible` unless it is None."""
    rows = await tx.fetch(_KEYS_AFTER, *(after or (None, None)), limit, _texts(visible))
    return [_key(row) for row in rows]


async def live_key_count(tx: Tx, kind: KeyKind, tenant_id: TenantId | None, now: datetime) -> int:
    """Return how many keys of the kind (of the tenant, if one is given) are neither revoked nor expired."""
    return int(await tx.fetchval(_LIVE_KEY_COUNT, kind, tenant_id, now))


async def operator_keys(tx: Tx) -> Sequence[Key]:
    """Return all operator keys there have been, and let no other process adopt one until this transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _SETUP_LOCK)
    rows = await tx.fetch(_OPERATOR_KEYS)
    return [_key(row) for row in rows]


async def append_change(tx: Tx, act: Act, change: Change) -> None:
    """Add a line to the record of changes."""
    await tx.execute(
        _APPEND_CHANGE, change.action, change.subject, act.actor, act.request_id, act.reason, change.changed_at
    )


def _texts(visible: Collection[TenantId] | None) -> list[str] | None:
    return None if visible is None else [*visible]


def _tenant(row: asyncpg.Record) -> Tenant:
    return Tenant(**dict(row))


def _key(row: asyncpg.Record) -> Key:
    values = dict(row)
    return Key(**values | {"scopes": tuple(values["scopes"]), "act_for": tuple(values["act_for"])})


_INSERT_TENANT: Final = """
INSERT INTO tenant (tenant_id, name, status, region, billing_zone, plan_id, created_at, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_TENANT_BY_ID: Final = """
SELECT tenant_id, name, status, region, billing_zone, plan_id, created_at, changed_at FROM tenant WHERE tenant_id = $1
"""
_LOCK_TENANT: Final = "SELECT true FROM tenant WHERE tenant_id = $1 FOR NO KEY UPDATE"
_TENANTS_AFTER: Final = """
SELECT tenant_id, name, status, region, billing_zone, plan_id, created_at, changed_at FROM tenant
WHERE ($1::timestamptz IS NULL OR (created_at, tenant_id) > ($1, $2::text))
  AND ($4::text[] IS NULL OR tenant_id = ANY($4))
ORDER BY created_at, tenant_id LIMIT $3
"""
_INSERT_KEY: Final = """
INSERT INTO api_key
  (key_id, name, digest, kind, tenant_id, scopes, act_for, created_at, expires_at, revoked_at, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
_UPDATE_KEY: Final = "UPDATE api_key SET digest = $2, scopes = $3, revoked_at = $4, changed_at = $5 WHERE key_id = $1"
_REVOKE_KEY: Final = "UPDATE api_key SET revoked_at = $2, changed_at = $3 WHERE key_id = $1"
_LOCK_KEY: Final = """
SELECT key_id, name, digest, kind, tenant_id, scopes, act_for, created_at, expires_at, revoked_at, changed_at
FROM api_key WHERE key_id = $1 FOR UPDATE
"""
_KEYS_AFTER: Final = """
SELECT key_id, name, digest, kind, tenant_id, scopes, act_for, created_at, expires_at, revoked_at, changed_at
FROM api_key
WHERE ($1::timestamptz IS NULL OR (created_at, key_id) > ($1, $2::text))
  AND ($4::text[] IS NULL OR tenant_id = ANY($4))
ORDER BY created_at, key_id LIMIT $3
"""
_OPERATOR_KEYS: Final = """
SELECT key_id, name, digest, kind, tenant_id, scopes, act_for, created_at, expires_at, revoked_at, changed_at
FROM api_key WHERE kind = 'operator' ORDER BY created_at, key_id FOR UPDATE
"""
_LIVE_KEY_COUNT: Final = """
SELECT count(*) FROM api_key WHERE revoked_at IS NULL AND kind = $1 AND ($2::text IS NULL OR tenant_id = $2)
  AND (expires_at IS NULL OR expires_at > $3)
"""
_APPEND_CHANGE: Final = """
INSERT INTO identity_change (kind, subject, actor, request_id, reason, changed_at) VALUES ($1, $2, $3, $4, $5, $6)
"""
