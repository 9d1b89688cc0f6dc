"""The metrics of this process: OpenTelemetry instruments, shown to Prometheus as text.

Every service declares its instruments once, in its own metrics.py; libs/bus and this module declare what all share.
Names and units follow the OpenTelemetry semantic conventions; on `/metrics` they are Prometheus names (`s` becomes
`_seconds`, a counter ends `_total`). Labels say topic, consumer, route, reason: never a tenant or anything as many.

Source: OpenTelemetry semantic conventions (HTTP and RPC metrics), OpenTelemetry's Prometheus compatibility
specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from libs.runtime.errors import MaestroError

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST
DURATION_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

_REGISTRY: Final = CollectorRegistry()
_METER: Final = metrics.get_meter("maestro.runtime")

REQUEST_DURATION: Final = _METER.create_histogram(
    "http.server.request.duration",
    unit="s",
    description="requests by `http_route`, method and status; the route's template, never the path",
    explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S,
)
CALL_DURATION: Final = _METER.create_histogram(
    "rpc.server.call.duration",
    unit="s",
    description="gRPC calls by `rpc_method` and status: from the call's headers to its answer, the message included",
    explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S,
)
DENIED: Final = _METER.create_counter(
    "maestro.http.denied",
    unit="{request}",
    description="requests refused with 401, 403, 429 or for want of room, by `code`; where a limit refused, by `limit`",
)
_DENIALS: Final = frozenset({401, 403, 429})


def count_denial(error: MaestroError, status: int) -> None:
    """Count a request that was answered by `error`, if that is a denial; `status` is HTTP's, whatever the protocol."""
    if status not in _DENIALS and not error.is_denial:
        return
    labels: dict[str, str | int] = {"code": error.code, "status": status}
    limit = error.members.get("limit")
    DENIED.add(1, labels | {"limit": limit} if isinstance(limit, str) else labels)


def start_metrics(service: str, instance: str = "0") -> None:
    """Install the meter provider of this process, once; before that, instruments count nothing."""
    if isinstance(metrics.get_meter_provider(), MeterProvider):
        return
    reader = PrometheusMetricReader(
        scope_info_enabled=False, resource_attribute_filter=lambda name: name == SERVICE_NAME, registry=_REGISTRY
    )
    resource = Resource.create({SERVICE_NAME: service, SERVICE_INSTANCE_ID: instance})
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False))


def exposition() -> bytes:
    """Return everything that this process measures, as Prometheus reads it (MEDIA_TYPE)."""
    return generate_latest(_REGISTRY)


class Snapshot:
    """A gauge whose observations are replaced all at once: what is gone is no longer shown.

    `by` says whose observations these are, so that several samplers of one process do not undo each other's.
    """

    def __init__(self, meter: Meter, name: str, *, unit: str, description: str) -> None:
        """Declare the gauge; nothing is shown before the first `replace`."""
        self._shown: dict[str, Sequence[Observation]] = {}
        meter.create_observable_gauge(name, [self._observe], unit=unit, description=description)

    def replace(self, by: str, values: Iterable[tuple[Mapping[str, str | int], float]]) -> None:
        """Show exactly these, pairs of labels and value, from now on."""
        self._shown[by] = [Observation(value, dict(labels)) for labels, value in values]

    def clear(self, by: str) -> None:
        """Show nothing any more: it is not known."""
        self._shown.pop(by, None)

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [one for shown in tuple(self._shown.values()) for one in shown]
