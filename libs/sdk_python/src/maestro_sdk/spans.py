"""Says on the current OpenTelemetry span whose request it is; does nothing where OpenTelemetry is not installed."""

from __future__ import annotations

from typing import Final

try:
    from opentelemetry import trace
except ImportError:
    _is_traced = False
else:
    _is_traced = True

TENANT_ATTRIBUTE: Final = "maestro.tenant.id"  # what metering reads: the span of this request counts for that tenant
DEGRADED_ATTRIBUTE: Final = "maestro.quota.degraded"  # true where the request passed or failed without an answer


def name_tenant(tenant: str) -> None:
    """Name the tenant on the current span."""
    if _is_traced:
        trace.get_current_span().set_attribute(TENANT_ATTRIBUTE, tenant)


def mark_degraded() -> None:
    """Say that the quota could not be asked."""
    if _is_traced:
        trace.get_current_span().set_attribute(DEGRADED_ATTRIBUTE, True)
