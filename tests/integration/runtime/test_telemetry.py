"""What a process tells a collector; one that hangs holds nothing up. The program is what a service runs as."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deploy.local.places import CHECKOUT
from libs.runtime.telemetry import EXPORT_TIMEOUT_S

PROGRAM = """
import logging, time
from libs.runtime.settings import ServiceSettings
from libs.runtime.telemetry import telemetry
from libs.runtime.tracing import span
with telemetry("quota", ServiceSettings()):
    with span("GET /v1/plans", server=True):
        logging.getLogger("test").info("inside")
    logging.getLogger("test").info("outside")
    ending_s = time.monotonic()
logging.getLogger("test").info("ended", extra={"took_s": time.monotonic() - ending_s})
"""


@dataclass
class Collector:
    """An OTLP/HTTP receiver that keeps what it got, by path."""

    address: str = ""
    got: list[tuple[str, ExportTraceServiceRequest]] = field(default_factory=list)


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        found.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def run_with(**settings: str) -> dict[str, dict[str, Any]]:
    """Run the program; its own log lines by message."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    told = {**kept, **settings}
    command = [sys.executable, "-c", PROGRAM]
    ran = subprocess.run(command, cwd=CHECKOUT, env=told, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    return {line["message"]: line for line in lines if line["logger"] == "test"}


@pytest.mark.parametrize("setting", ["MAESTRO_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_spans_reach_the_collector_that_is_named_and_logs_carry_their_ids(setting: str, collector: Collector) -> None:
    lines = run_with(**{setting: collector.address})

    ((path, request),) = collector.got
    (resource,) = request.resource_spans
    (span,) = resource.scope_spans[0].spans
    assert path == "/v1/traces"
    assert {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"] == "quota"
    assert span.name == "GET /v1/plans"
    inside = lines["inside"]
    assert (inside["trace_id"], inside["span_id"]) == (span.trace_id.hex(), span.span_id.hex())
    assert "trace_id" not in lines["outside"]


def test_a_collector_that_hangs_holds_up_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        lines = run_with(MAESTRO_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")

    assert lines["ended"]["took_s"] < EXPORT_TIMEOUT_S  # what waiting for the one batch would take


def test_without_a_collector_nothing_is_sent_and_ids_still_flow() -> None:
    assert len(run_with()["inside"]["trace_id"]) == 32
