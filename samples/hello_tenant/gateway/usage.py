"""What the gateway reports as CloudEvents. The ids are made of what happened, so that reporting twice counts once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from maestro_sdk import UsageEmitter

SOURCE: Final = "https://hello-tenant.example/gateway"
INGESTED: Final = "example.hello.batch_ingested"
STORED: Final = "example.hello.storage_sampled"


def report_ingested(emitter: UsageEmitter, tenant: str, batch_id: str, count: int) -> None:
    """Report that the tenant ingested a batch of `count` events; raise EmitterFull where it cannot be held."""
    emitter.emit_nowait(
        INGESTED, {"maestro.ingest.events": count}, subject=tenant, event_id=f"batch/{batch_id}", time=datetime.now(UTC)
    )


def report_stored(emitter: UsageEmitter, tenant: str, resource: str, stored_bytes: int, at: datetime) -> None:
    """Report that a resource of the tenant holds `stored_bytes` from `at` on; raise EmitterFull likewise."""
    emitter.emit_nowait(
        STORED,
        {"maestro.storage.resource": resource, "maestro.storage.bytes": stored_bytes},
        subject=tenant,
        event_id=f"storage/{resource}/{at.astimezone(UTC).isoformat()}",
        time=at,
    )
