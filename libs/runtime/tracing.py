"""One trace from the request to the invoice: W3C trace context over HTTP and Kafka headers.

Source: W3C Trace Context (traceparent). Spans are made by the OpenTelemetry SDK; where no collector is named
(`libs.runtime.telemetry`) they are not sent anywhere, but ids still flow through records and logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("maestro")


def start_tracing(service: str, *, instance: str = "0", exports: SpanProcessor | None = None) -> TracerProvider:
    """Install the tracer provider of this process and return it; call once, at the start. `exports` gets every span."""
    resource = Resource.create({SERVICE_NAME: service, SERVICE_INSTANCE_ID: instance})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # it would wait for half a minute
    if exports is not None:
        provider.add_span_processor(exports)
    trace.set_tracer_provider(provider)
    return provider


def current_traceparent() -> str | None:
    """Return the traceparent of the span that is current, None outside a trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(TRACEPARENT)


def current_trace_id() -> str | None:
    """Return the current trace's id as 32 hex digits, None outside a trace."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def current_span_id() -> str | None:
    """Return the current span's id as 16 hex digits, None outside a trace."""
    context = trace.get_current_span().get_span_context()
    return format(context.span_id, "016x") if context.is_valid else None


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id that `traceparent` names, None where it is absent or malformed."""
    context = trace.get_current_span(context_of(traceparent)).get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def context_of(traceparent: str | None) -> Context:
    """Return the context that `traceparent` names; an empty one where it is absent or malformed."""
    return _PROPAGATOR.extract({TRACEPARENT: traceparent} if traceparent else {}, context=Context())


@contextmanager
def span(name: str, *, parent: str | None = None, server: bool = False) -> Iterator[trace.Span]:
    """Run the block in a span called `name`: a child of `parent` (a traceparent) if given, else of the current span."""
    kind = trace.SpanKind.SERVER if server else trace.SpanKind.INTERNAL
    context = context_of(parent) if parent is not None else None
    with _TRACER.start_as_current_span(name, context=context, kind=kind) as current:
        yield current
