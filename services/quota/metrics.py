"""What quota counts about itself: each instrument is declared here, once."""

from __future__ import annotations

from opentelemetry import metrics

_METER = metrics.get_meter("maestro.quota")
_DECISIONS = _METER.create_counter(
    "maestro.quota.decisions", unit="{check}", description="checks answered with yes or no, by limit"
)
_STORE_FAILURES = _METER.create_counter(
    "maestro.quota.store.failures", unit="{check}", description="checks that the limiter's store did not answer in time"
)


def count_decision(limit: str, *, admitted: bool) -> None:
    """Count one yes or no."""
    _DECISIONS.add(1, {"limit": limit, "admitted": admitted})


def count_store_failure() -> None:
    """Count one check without an answer."""
    _STORE_FAILURES.add(1)
