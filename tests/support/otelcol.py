"""The real OpenTelemetry Collector under the configuration that ships, and stock SDKs that send it spans."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

from deploy.local.ports import HOST
from tests.support.tools import CHECKOUT

CONFIGURATION = CHECKOUT / "deploy" / "otel"
WITHIN_S = 60.0
ASK_AGAIN_S = 0.05


def configuration(way: str) -> list[str]:
    """Return the arguments that name the shipped files; `way` is to-kafka or to-metering."""
    return [f"--config={CONFIGURATION / name}.yaml" for name in ("collector", way)]


def told(folder: Path, **settings: object) -> dict[str, str]:
    """Return the environment of a Collector whose state lies in `folder`: its basics, and these settings."""
    basics = {"PATH": os.environ["PATH"], "MAESTRO_OTELCOL_STATE": str(folder)}
    return basics | {f"MAESTRO_{name}".upper(): str(value) for name, value in settings.items()}


@dataclass(slots=True)
class Collector:
    """One Collector, which may be killed and started again over the same state."""

    binary: Path
    way: str
    environment: Mapping[str, str]
    log: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it takes spans."""
        self.ports = dict(zip(("grpc", "http"), _free_ports(2), strict=True))
        listens = {f"MAESTRO_OTELCOL_{name}".upper(): f"{HOST}:{port}" for name, port in self.ports.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, *configuration(self.way)], env={**self.environment, **listens}, stdout=log, stderr=log
            )
        deadline = time.monotonic() + WITHIN_S
        while not _answers(self.ports["http"]):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(ASK_AGAIN_S)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and return when it is gone."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(WITHIN_S)
            self.process = None

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


@contextmanager
def collecting(binary: Path, way: str, environment: Mapping[str, str], log: Path) -> Iterator[Collector]:
    """Run a Collector until the block ends."""
    collector = Collector(binary, way, environment, log)
    collector.start()
    try:
        yield collector
    finally:
        collector.end()


def send_calls(collector: Collector, tenant: str, count: int, *, service: str = "gateway") -> list[int]:
    """Send so many GraphQL calls of `tenant` by a stock SDK; return their trace ids. Each is a trace of its own."""
    exporter = OTLPSpanExporter(f"http://{HOST}:{collector.ports['http']}/v1/traces", timeout=WITHIN_S)
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer, traces = provider.get_tracer("a customer's application"), []
    attributes = {"graphql.operation.type": "query", "maestro.tenant.id": tenant}
    for _ in range(count):
        with tracer.start_as_current_span("POST /graphql", kind=SpanKind.SERVER, attributes=attributes) as span:
            traces.append(span.get_span_context().trace_id)
    provider.shutdown()
    return traces


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
