"""Our own copy of metering's windows, and whether it is exactly what metering froze."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from libs.schemas.events import FrozenWindow, Metric, WindowTotalled
from libs.schemas.values import rfc3339
from libs.schemas.windows import window_digest
from libs.signing.canonical import canonical_bytes
from libs.signing.digests import sha256_hex
from services.invoicing.errors import WrongDigest

UNIT_OF: Final[Mapping[Metric, str]] = {"gql_calls": "1", "ingest_events": "1", "storage_gb": "By.us"}


@dataclass(frozen=True, slots=True)
class WindowCopy:
    """The total of a quarter of an hour in the metric's base unit, with metering's stamp on it."""

    metric: Metric
    window_start: datetime
    value: Decimal
    store_epoch: int
    seq: int
    digest: str

    @classmethod
    def of(cls, event: WindowTotalled) -> WindowCopy:
        """Return the copy that `event` carries; raise WrongDigest where value, unit and digest do not belong together.

        What is kept here is what will be billed, so a value that was damaged on its way stops here, by its name.
        """
        if event.digest != window_digest(event.tenant_id, event.metric, event.window_start, event.value):
            raise WrongDigest(f"{event.metric} {rfc3339(event.window_start)}: the digest is not that of {event.value}")
        if event.unit != UNIT_OF[event.metric]:
            raise WrongDigest(f"{event.metric} comes in {UNIT_OF[event.metric]!r}, not in {event.unit!r}")
        if event.unit == "By.us" and event.value % 1:
            raise WrongDigest(f"{event.metric} comes in whole byte-microseconds, not {event.value}")
        return cls(event.metric, event.window_start, event.value, event.store_epoch, event.seq, event.digest)

    @property
    def as_frozen(self) -> FrozenWindow:
        """What metering would freeze of this copy."""
        return FrozenWindow(
            metric=self.metric,
            window_start=self.window_start,
            store_epoch=self.store_epoch,
            seq=self.seq,
            digest=self.digest,
        )


def not_as_frozen(frozen: Iterable[FrozenWindow], copies: Iterable[WindowCopy]) -> list[FrozenWindow]:
    """Return the frozen windows of which `copies` holds no exact match, in the order of `frozen`."""
    held = {(copy.metric, copy.window_start): copy.as_frozen for copy in copies}
    return [window for window in frozen if held.get((window.metric, window.window_start)) != window]


def windows_digest(frozen: Iterable[FrozenWindow]) -> str:
    """Return the SHA-256 of the frozen set, as hex: over the canonical JSON of its rows, sorted by metric and start."""
    rows = sorted((w.metric, rfc3339(w.window_start), w.store_epoch, w.seq, w.digest) for w in frozen)
    return sha256_hex(canonical_bytes(rows))
