"""Which manifests were signed, by which key, for whom. A row is written once and never changed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import asyncpg

from libs.schemas.values import TenantId
from libs.store.pool import Tx
from services.evidence.domain import Artifact


async def find_artifact(tx: Tx, digest: str) -> Artifact | None:
    """Return the artifact whose manifest has this digest."""
    row = await tx.fetchrow(_FIND, digest)
    return None if row is None else _artifact_of(row)


async def artifacts_like(tx: Tx, artifact: Artifact) -> list[Artifact]:
    """Return those that have its digest, its subject or its number: at most one of each."""
    rows = await tx.fetch(_LIKE, artifact.digest, artifact.kind, artifact.subject_id, artifact.number)
    return [_artifact_of(row) for row in rows]


async def add_artifact(tx: Tx, artifact: Artifact) -> bool:
    """Add the row; False where one has its digest, its subject or its number already, which stands."""
    added = await tx.fetchval(
        _ADD,
        artifact.digest,
        artifact.bundle_digest,
        artifact.kind,
        artifact.subject_id,
        artifact.tenant_id,
        artifact.number,
        artifact.period,
        artifact.key_fingerprint,
        artifact.signed_at,
    )
    return added is not None


async def list_artifacts(
    tx: Tx, *, tenants: Collection[TenantId] | None, before: tuple[datetime, str] | None, limit: int
) -> list[Artifact]:
    """Return at most `limit` artifacts of these tenants (None: of all), newest first, from below `before`."""
    signed_at, digest = before or (None, None)
    rows = await tx.fetch(_LIST, None if tenants is None else list(tenants), signed_at, digest, limit)
    return [_artifact_of(row) for row in rows]


def _artifact_of(row: asyncpg.Record) -> Artifact:
    return Artifact(**row)


_FIND: Final = """
SELECT digest, bundle_digest, kind, subject_id, tenant_id, number, period, key_fingerprint, signed_at
FROM artifact WHERE digest = $1
"""
_LIKE: Final = """
SELECT digest, bundle_digest, kind, subject_id, tenant_id, number, period, key_fingerprint, signed_at
FROM artifact WHERE digest = $1 OR (kind = $2 AND subject_id = $3) OR (kind = $2 AND number = $4)
"""
_ADD: Final = """
INSERT INTO artifact (digest, bundle_digest, kind, subject_id, tenant_id, number, period, key_fingerprint, signed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING RETURNING true
"""
_LIST: Final = """
SELECT digest, bundle_digest, kind, subject_id, tenant_id, number, period, key_fingerprint, signed_at
FROM artifact
WHERE ($1::text[] IS NULL OR tenant_id = ANY ($1))
  AND ($2::timestamptz IS NULL OR (signed_at, digest) < ($2, $3::text))
ORDER BY signed_at DESC, digest DESC LIMIT $4
"""
