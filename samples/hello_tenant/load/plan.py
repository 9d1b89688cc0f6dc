"""What the load client is told to do: one JSON file, because it holds keys and keys do not belong on a command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TenantLoad:
    """What one tenant does.

    `calls` GraphQL calls at `calls_s` a second, `batches` ingest batches of `events_per_batch` at `batches_s` a second;
    `storage_bytes` is the size around which its samples vary. A tenant with `storm_calls` then calls as fast as it can,
    at most that often, until it is refused; `storm_batch_events` are the events of two ingest batches sent at once.
    """

    tenant_id: str
    name: str
    key: str
    calls: int
    calls_s: float
    batches: int = 0
    batches_s: float = 1.0
    events_per_batch: int = 1
    storage_bytes: int = 0
    storm_calls: int = 0
    storm_batch_events: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole run. `not_before_us` bounds the times of storage samples (microseconds since 1970, UTC)."""

    gateway_url: str
    seed: str
    not_before_us: int
    tenants: tuple[TenantLoad, ...]

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read the plan that `write` wrote."""
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**document | {"tenants": tuple(TenantLoad(**tenant) for tenant in document["tenants"])})

    def write(self, path: Path) -> None:
        """Write the plan to `path`, readable by its owner only."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
