"""What a service tells about itself: JSON logs, metrics on `/metrics`, and spans to a collector where one is named.

`MAESTRO_OTLP_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT`, is the collector's address without a path, for example
`http://127.0.0.1:4318`. Headers, certificates and sampling are OpenTelemetry's own settings
(`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_CERTIFICATE`, `OTEL_TRACES_SAMPLER`).

Source: OTLP 1.x over HTTP, protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from libs.runtime.logs import start_logging
from libs.runtime.metrics import start_metrics
from libs.runtime.settings import ServiceSettings
from libs.runtime.tracing import start_tracing

TRACES_PATH: Final = "/v1/traces"
EXPORT_TIMEOUT_S: Final = 3.0  # of one batch with its retries, in a thread of its own
EXPORT_EVERY_MS: Final = 2_000
QUEUED_SPANS: Final = 8_192  # some megabytes, kept while a collector is away; beyond that the oldest are dropped
LAST_EXPORT_S: Final = 1.0  # what the end of a process may take for it, within its supervisor's grace


@contextmanager
def telemetry(service: str, settings: ServiceSettings) -> Iterator[None]:
    """Tell about this process while the block runs. A collector that does not answer delays nothing."""
    start_logging(service, settings.log_level)
    start_metrics(service, settings.instance)
    provider = start_tracing(service, instance=settings.instance, exports=_exports_to(settings.otlp_endpoint))
    try:
        yield
    finally:
        # The exporter has no shorter patience than its own: the rest ends with the process.
        last = Thread(target=provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(LAST_EXPORT_S)


def _exports_to(collector: str) -> BatchSpanProcessor | None:
    if not collector:
        return None
    exporter = OTLPSpanExporter(collector.rstrip("/") + TRACES_PATH, timeout=EXPORT_TIMEOUT_S)
    return BatchSpanProcessor(exporter, max_queue_size=QUEUED_SPANS, schedule_delay_millis=EXPORT_EVERY_MS)
