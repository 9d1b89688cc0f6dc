"""A client of OTLP over gRPC that shows statuses, details included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
CHECK = "/grpc.health.v1.Health/Check"
WITHIN_S = 30.0

Call: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status; where it is OK what was not taken, where it is not after how many seconds to come again."""

    code: grpc.StatusCode
    text: str = ""
    partial: ExportTracePartialSuccess | None = None
    retry_s: int | None = None


@dataclass(frozen=True, slots=True)
class OtlpClient:
    """Calls one server."""

    channel: grpc.aio.Channel

    async def export(
        self,
        request: ExportTraceServiceRequest | bytes,
        authorization: str | None = None,
        *,
        compression: grpc.Compression = grpc.Compression.NoCompression,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """Export once, as the holder of what `authorization` says."""
        body = request if isinstance(request, bytes) else request.SerializeToString()
        said = (*metadata, *((("authorization", authorization),) if authorization else ()))
        call: Call = self.channel.unary_unary(EXPORT)
        try:
            answer = await call(body, timeout=WITHIN_S, compression=compression, metadata=said)
        except grpc.aio.AioRpcError as error:
            return Answer(error.code(), error.details() or "", retry_s=_retry_s(error))
        return Answer(grpc.StatusCode.OK, partial=ExportTraceServiceResponse.FromString(answer).partial_success)

    async def health(self) -> bytes:
        """Return the HealthCheckResponse."""
        call: Call = self.channel.unary_unary(CHECK)
        return await call(b"", timeout=WITHIN_S)


@asynccontextmanager
async def otlp_client(port: int) -> AsyncIterator[OtlpClient]:
    """Give a client of the server at that port of this machine."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield OtlpClient(channel)


def _retry_s(error: grpc.aio.AioRpcError) -> int | None:
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            [detail] = Status.FromString(value).details
            info = RetryInfo()
            assert detail.Unpack(info)
            return int(info.retry_delay.seconds)
    return None
