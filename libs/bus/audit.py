"""The record of changes: each change by a person is said on the topic `<service>-audit`, and evidence keeps it.

The event is an outbox row in the transaction of the change: there is no change without its record, and no record of a
change that did not happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from libs.bus.outbox import say
from libs.runtime.acts import Act
from libs.schemas.events import ChangeRecorded
from libs.schemas.values import TenantId
from libs.store.pool import Tx

SUFFIX: Final = "-audit"


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed: `action` is `<noun>.<past tense>`, `subject` `<noun>/<id>`; `details` say to what."""

    action: str
    subject: str
    changed_at: datetime
    tenant_id: TenantId | None = None
    details: Mapping[str, str] = field(default_factory=dict)


async def record_change(tx: Tx, service: str, act: Act, change: Change) -> None:
    """Say that `act` made `change` at `service`, if and only if `tx` commits."""
    event = ChangeRecorded(
        action=change.action,
        subject=change.subject,
        tenant_id=change.tenant_id,
        details=dict(change.details),
        actor=act.actor,
        request_id=act.request_id,
        reason=act.reason,
        changed_at=change.changed_at,
    )
    await say(tx, service + SUFFIX, event, key=change.subject)
