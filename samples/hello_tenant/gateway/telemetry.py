"""Stock OpenTelemetry, configured so that an outage of metering loses no span, and counted so that a loss would show.

What the stock parts do (opentelemetry-sdk and -exporter-otlp-proto-http 1.45), and what is set here against it:

- The exporter gives up after six tries, or when its `timeout` (the deadline of all tries together) is over; where the
  server names a short `Retry-After`, six tries are over within seconds. Its `session` argument takes a session of
  requests, and that one gets urllib3's own retries: they last OUTAGE_S before the exporter has made one try of its six.
- The batch processor throws away what it handed to an exporter that failed, and the oldest span when its queue is
  full. The queue holds QUEUE_SPANS; losses of both kinds are counted (the second one high rather than low: the SDK
  looks at the queue's length before it adds).
- The SDK counts its processor's drops only where OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED is true.
- The exporter ignores a partial success, so spans that the server rejected are counted from the response.
- The sampler follows the caller's decision by default: a caller could make its calls free. It is always on here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.environment_variables import OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

OUTAGE_S = 120  # twice the longest outage that the gateway must outlast without losing a span
PAUSE_MAX_S = 2.0
PAUSE_FACTOR = 0.1  # urllib3 waits factor x 2^n, from the second retry on
RETRIES = int(OUTAGE_S / PAUSE_MAX_S) + 8  # the first waits are shorter
EXPORT_DEADLINE_S = 2 * OUTAGE_S
QUEUE_SPANS = 65_536  # at 400 spans a second more than OUTAGE_S; about 150 MB when full
BATCH_SPANS = 512
SEND_EVERY_MS = 500
TRY_AGAIN = (429, 502, 503, 504)  # the retryable answers of the OTLP specification

_PROCESSED = "otel.sdk.processor.span.processed"


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """What became of the ended spans. All but `exported` must be zero for the usage to be complete."""

    exported: int
    failed: int
    dropped: int
    rejected: int


class CountedExporter(SpanExporter):
    """The stock exporter, with its answers counted by the span."""

    def __init__(self, stock: SpanExporter) -> None:
        self._stock = stock
        self.exported = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand on, and count the outcome."""
        result = self._stock.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        else:
            self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        """Hand on."""
        self._stock.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Hand on."""
        return self._stock.force_flush(timeout_millis)


class Telemetry:
    """The tracer provider of the gateway and the counts of its spans."""

    def __init__(
        self,
        service_name: str,
        traces_url: str,
        key: str,
        *,
        queue_spans: int = QUEUE_SPANS,
        pause_max_s: float = PAUSE_MAX_S,
    ) -> None:
        """Send the spans of `service_name` to `traces_url` (the whole URL, …/v1/traces) with an API key."""
        os.environ.setdefault(OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED, "true")
        self._rejected = 0
        stock = OTLPSpanExporter(
            endpoint=traces_url,
            headers={"authorization": f"Bearer {key}"},
            timeout=EXPORT_DEADLINE_S,
            compression=Compression.Gzip,
            session=self._patient_session(pause_max_s),
        )
        self._exporter = CountedExporter(stock)
        self._metrics = InMemoryMetricReader()
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=queue_spans,
            schedule_delay_millis=SEND_EVERY_MS,
            max_export_batch_size=min(BATCH_SPANS, queue_spans),
            meter_provider=MeterProvider(metric_readers=[self._metrics]),
        )
        self.provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create({SERVICE_NAME: service_name}))
        self.provider.add_span_processor(self._processor)

    def flush(self) -> SpanCounts:
        """Send all ended spans (blocks for as long as metering is away, at most EXPORT_DEADLINE_S a batch)."""
        self._processor.force_flush()
        return self.counts()

    def counts(self) -> SpanCounts:
        """Return what became of the spans that ended so far; those still queued are in none of the counts."""
        return SpanCounts(self._exporter.exported, self._exporter.failed, self._dropped(), self._rejected)

    def stop(self) -> None:
        """Send what is left and end the exporter's thread."""
        self.provider.shutdown()

    def _dropped(self) -> int:
        """Sum the SDK's own count of processed spans over the points that carry an error."""
        collected = self._metrics.get_metrics_data()
        if collected is None:
            return 0
        return sum(
            int(point.value)
            for resource in collected.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == _PROCESSED
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint) and "error.type" in (point.attributes or {})
        )

    def _patient_session(self, pause_max_s: float) -> requests.Session:
        retry = Retry(
            total=RETRIES,
            backoff_factor=PAUSE_FACTOR,
            backoff_max=pause_max_s,
            status_forcelist=TRY_AGAIN,
            allowed_methods=None,  # every method: metering knows a span by its id, so a repeat changes nothing
            raise_on_status=False,
        )
        session = requests.Session()
        session.trust_env = False
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        session.hooks["response"].append(self._count_rejected)
        return session

    def _count_rejected(self, response: requests.Response, *_: object, **__: object) -> None:
        if response.ok and response.content:
            answer = ExportTraceServiceResponse.FromString(response.content)
            self._rejected += answer.partial_success.rejected_spans
