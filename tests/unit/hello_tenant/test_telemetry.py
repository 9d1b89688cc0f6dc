from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from samples.hello_tenant.gateway.telemetry import SpanCounts, Telemetry


@dataclass
class Metering:
    """A server in the place of metering: gives the `answers`, then 200; holds every answer while `open` is not set."""

    open: threading.Event = field(default_factory=threading.Event)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    seen: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def metering() -> Iterator[Metering]:
    state = Metering()
    state.open.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            state.seen.append(self.headers.get("authorization"))
            state.open.wait(timeout=10)
            status, headers, body = state.answers.pop(0) if state.answers else (200, {}, b"")
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def telemetry(metering: Metering) -> Iterator[Telemetry]:
    made = Telemetry("gateway", metering.url, "mst_test_key", pause_max_s=0.01)
    yield made
    made.stop()


def end_spans(telemetry: Telemetry, count: int) -> None:
    tracer = telemetry.provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("one").end()


def test_ended_spans_are_sent_with_the_key_and_counted(metering: Metering, telemetry: Telemetry) -> None:
    end_spans(telemetry, 3)
    assert telemetry.flush() == SpanCounts(exported=3, failed=0, dropped=0, rejected=0)
    assert metering.seen == ["Bearer mst_test_key"]


def test_more_refusals_than_the_stock_exporter_bears_lose_no_span(metering: Metering, telemetry: Telemetry) -> None:
    metering.answers = [(503, {"retry-after": "0"}, b"")] * 8
    end_spans(telemetry, 1)
    assert telemetry.flush() == SpanCounts(exported=1, failed=0, dropped=0, rejected=0)
    assert len(metering.seen) == 9


def test_a_batch_that_is_refused_for_good_is_counted_as_failed(metering: Metering, telemetry: Telemetry) -> None:
    metering.answers = [(400, {}, b"")]
    end_spans(telemetry, 2)
    assert telemetry.flush() == SpanCounts(exported=0, failed=2, dropped=0, rejected=0)


def test_spans_that_a_partial_success_rejects_are_counted(metering: Metering, telemetry: Telemetry) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    metering.answers = [(200, {"content-type": "application/x-protobuf"}, answer.SerializeToString())]
    end_spans(telemetry, 5)
    assert telemetry.flush() == SpanCounts(exported=5, failed=0, dropped=0, rejected=2)


def test_spans_that_the_full_queue_pushes_out_are_counted(metering: Metering) -> None:
    metering.open.clear()
    small = Telemetry("gateway", metering.url, "mst_test_key", queue_spans=4)
    end_spans(small, 50)
    metering.open.set()
    counts = small.flush()
    small.stop()
    assert counts.exported < 50
    assert counts.dropped >= 50 - counts.exported
