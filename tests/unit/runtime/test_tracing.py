from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace

from libs.runtime import tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture(autouse=True, scope="module")
def provider() -> Iterator[None]:
    tracing.start_tracing("test")
    yield
    assert trace.get_tracer_provider() is not None


def test_a_span_with_a_parent_continues_its_trace() -> None:
    with tracing.span("handle", parent=PARENT):
        assert tracing.current_trace_id() == TRACE


def test_the_traceparent_that_goes_on_names_the_same_trace_and_another_span() -> None:
    with tracing.span("handle", parent=PARENT):
        onward = tracing.current_traceparent()
    assert onward is not None
    assert onward.split("-")[1] == TRACE
    assert onward.split("-")[2] != "b7ad6b7169203331"


def test_a_malformed_parent_starts_a_trace_of_its_own() -> None:
    with tracing.span("handle", parent="00-zz-zz-01"):
        assert tracing.current_trace_id() not in (None, TRACE)


def test_outside_a_span_there_is_no_trace() -> None:
    assert tracing.current_traceparent() is None
    assert tracing.current_trace_id() is None
