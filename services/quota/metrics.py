"""What quota counts about itself: each instrument is declared here, once."""

from __future__ import annotations

from opentelemetry import metrics

_METER = metrics.get_meter("maestro.quota")

DECISIONS = _METER.create_counter(
    "maestro.quota.decisions", unit="{check}", description="checks answered, by limit and verdict"
)
STORE_FAILURES = _METER.create_counter(
    "maestro.quota.store.failures", unit="{check}", description="checks that the limiter's store did not answer in time"
)
