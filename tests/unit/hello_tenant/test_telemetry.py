from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from samples.hello_tenant.gateway.telemetry import SpanCounts, Telemetry
from tests.support.upstream import Answer, Upstream, serving

TRACES = "/v1/traces"


@pytest.fixture
def metering() -> Iterator[Upstream]:
    with serving() as upstream:
        yield upstream


@pytest.fixture
def telemetry(metering: Upstream) -> Iterator[Telemetry]:
    made = Telemetry("gateway", metering.url + TRACES, "mst_test_key", pause_max_s=0.01)
    yield made
    made.stop()


def end_spans(telemetry: Telemetry, count: int) -> None:
    tracer = telemetry.provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("one").end()


def test_ended_spans_are_sent_with_the_key_and_counted(metering: Upstream, telemetry: Telemetry) -> None:
    end_spans(telemetry, 3)
    assert telemetry.flush() == SpanCounts(exported=3, failed=0, dropped=0, rejected=0)
    assert [one.authorization for one in metering.seen] == ["Bearer mst_test_key"]


def test_more_refusals_than_the_stock_exporter_bears_lose_no_span(metering: Upstream, telemetry: Telemetry) -> None:
    metering.queued[TRACES] = [Answer(503, headers={"retry-after": "0"})] * 8
    end_spans(telemetry, 1)
    assert telemetry.flush() == SpanCounts(exported=1, failed=0, dropped=0, rejected=0)
    assert len(metering.seen) == 9


def test_a_batch_that_is_refused_for_good_is_counted_as_failed(metering: Upstream, telemetry: Telemetry) -> None:
    metering.queued[TRACES] = [Answer(400)]
    end_spans(telemetry, 2)
    assert telemetry.flush() == SpanCounts(exported=0, failed=2, dropped=0, rejected=0)


def test_spans_that_a_partial_success_rejects_are_counted(metering: Upstream, telemetry: Telemetry) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    metering.queued[TRACES] = [Answer(200, answer.SerializeToString())]
    end_spans(telemetry, 5)
    assert telemetry.flush() == SpanCounts(exported=5, failed=0, dropped=0, rejected=2)


def test_spans_that_the_full_queue_pushes_out_are_counted(metering: Upstream) -> None:
    metering.open.clear()
    small = Telemetry("gateway", metering.url + TRACES, "mst_test_key", queue_spans=4)
    end_spans(small, 50)
    metering.open.set()
    counts = small.flush()
    small.stop()
    assert counts.exported < 50
    assert counts.dropped >= 50 - counts.exported
