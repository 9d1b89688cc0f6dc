"""A small HTTP server in the place of quota and metering, for tests of what stands before them."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATHS = ("/v1/check", "/v1/traces", "/api/v1/events")
STOP_LOOK_S = 0.02


@dataclass(frozen=True)
class Answer:
    """One answer of the server."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """One request that the server got, its body uncompressed."""

    path: str
    authorization: str | None
    body: bytes


@dataclass
class Upstream:
    """Gives the queued answers of a path in turn, then its standing one; holds all answers while `open` is not set."""

    url: str = ""
    open: threading.Event = field(default_factory=threading.Event)
    queued: dict[str, list[Answer]] = field(default_factory=lambda: {path: [] for path in PATHS})
    standing: dict[str, Answer] = field(default_factory=lambda: dict.fromkeys(PATHS, Answer(200)))
    seen: list[Seen] = field(default_factory=list)

    def answer_to(self, request: Seen) -> Answer:
        """Note the request; return its answer."""
        self.seen.append(request)
        self.open.wait(timeout=10)
        queue = self.queued[request.path]
        return queue.pop(0) if queue else self.standing[request.path]

    def spans(self) -> list[Span]:
        """All spans that came."""
        requests = [ExportTraceServiceRequest.FromString(one.body) for one in self.seen if one.path == "/v1/traces"]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def events(self) -> list[dict[str, Any]]:
        """All usage events that came."""
        return [event for one in self.seen if one.path == "/api/v1/events" for event in json.loads(one.body)]


def attributes(span: Span) -> dict[str, str]:
    """The text attributes of a span."""
    return {one.key: one.value.string_value for one in span.attributes}


@contextmanager
def serving() -> Iterator[Upstream]:
    """Serve an upstream until the block is over."""
    upstream = Upstream()
    upstream.open.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            plain = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            answer = upstream.answer_to(Seen(self.path, self.headers.get("authorization"), plain))
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(STOP_LOOK_S,), daemon=True).start()
    upstream.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
