"""Every instrument of invoicing, declared once."""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import get_meter

from libs.runtime.metrics import Snapshot

_METER: Final = get_meter("maestro.invoicing")

CLOSES_WAITING: Final = Snapshot(
    _METER, "maestro.invoicing.closes.waiting", unit="{close}", description="closes frozen and not yet issued"
)
CLOSE_AGE: Final = Snapshot(
    _METER,
    "maestro.invoicing.close.age",
    unit="s",
    description="how long ago the oldest of these was frozen; 0 without one",
)
