"""Usage as CloudEvents 1.0 in JSON, and what became of the events that did not arrive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

BATCH: Final = "application/cloudevents-batch+json"


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One event. (source, id) is its identity, fixed before the first try: a repeated try is never a second use.

    `subject` is the tenant, for a key that may name one; `data` holds what the meters read, such as
    {"maestro.ingest.events": 120}. Quantities are whole numbers or decimal text, never floats.
    """

    id: str
    source: str
    type: str
    time: datetime
    data: Mapping[str, Any]
    subject: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the event in the JSON format."""
        subject = {} if self.subject is None else {"subject": self.subject}
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            **subject,
            "data": dict(self.data),
        }


@dataclass(frozen=True, slots=True)
class LostEvent:
    """An event that metering will not count: `rejected` by it, or `dropped` here when its time was over."""

    event: UsageEvent
    how: Literal["rejected", "dropped"]
    reason: str


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event and its JSON text, written when it is emitted: what cannot be written fails there, before its caller."""

    event: UsageEvent
    text: bytes

    @classmethod
    def of(cls, event: UsageEvent) -> EncodedEvent:
        """Encode; raise TypeError or ValueError for what JSON cannot hold (Decimal, NaN)."""
        return cls(event, json.dumps(event.document(), separators=(",", ":"), allow_nan=False).encode("utf-8"))


def batch_of(events: Sequence[EncodedEvent]) -> bytes:
    """Return the body of the batched mode."""
    return b"[" + b",".join(event.text for event in events) + b"]"
