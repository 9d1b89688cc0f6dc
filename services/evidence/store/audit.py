"""The record of changes of all services. A row is written once and never changed; the database refuses to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import asyncpg

from libs.store.pool import Tx
from services.evidence.domain import AuditEntry, AuditQuery


async def add_entry(tx: Tx, entry: AuditEntry) -> None:
    """Add the entry; nothing where its event has one already."""
    await tx.execute(
        _ADD,
        entry.event_id,
        entry.service,
        entry.action,
        entry.subject,
        entry.tenant_id,
        json.dumps(entry.details),
        entry.actor,
        entry.request_id,
        entry.reason,
        entry.changed_at,
        entry.recorded_at,
    )


async def entries_before(tx: Tx, asked: AuditQuery, before: int | None, limit: int) -> list[AuditEntry]:
    """Return at most `limit` entries that fit `asked`, the newest first, from below entry `before`."""
    rows = await tx.fetch(_LIST, asked.service, asked.actor, asked.subject, asked.tenant_id, before, limit)
    return [_entry_of(row) for row in rows]


def _entry_of(row: asyncpg.Record) -> AuditEntry:
    entry = AuditEntry(**row)
    return replace(entry, details=json.loads(row["details"]))


_ADD: Final = """
INSERT INTO audit_entry
  (event_id, service, action, subject, tenant_id, details, actor, request_id, reason, changed_at, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (event_id) DO NOTHING
"""
_LIST: Final = """
SELECT entry_id, event_id, service, action, subject, tenant_id, details, actor, request_id, reason, changed_at,
  recorded_at
FROM audit_entry
WHERE ($1::text IS NULL OR service = $1) AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR subject = $3)
  AND ($4::text IS NULL OR tenant_id = $4) AND ($5::bigint IS NULL OR entry_id < $5)
ORDER BY entry_id DESC LIMIT $6
"""
