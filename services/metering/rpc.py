"""OTLP over gRPC: what `POST /v1/traces` is over HTTP, with the same keys, bounds, gate and reasons.

Messages stay bytes until their sender is known: the service is registered for a stream of requests, which a client
that sends one cannot tell, so that a message is received only when there is room for it, and inflated by us within
BOUNDS and not by the library.

Source: OTLP specification 1.x, sections "OTLP/gRPC" and "OTLP/gRPC Throttling"; google/rpc/status.proto and
error_details.proto (RetryInfo); grpc/health/v1/health.proto.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import unquote

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from libs.access.door import Door
from libs.runtime import metrics
from libs.runtime.errors import Broken, MaestroError, Unavailable
from libs.runtime.tracing import TRACEPARENT, span
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.exports import export_answer
from services.metering.domain.spans import from_protobuf
from services.metering.errors import BadBody, BodyTooSlow
from services.metering.handlers.edge import Gate, UsageEdge, sender_of

TRACES: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
EXPORT: Final = f"{TRACES}/Export"
HEALTH: Final = "grpc.health.v1.Health"
DRAIN_S: Final = 1.5  # beside the eight seconds that HTTP requests may take, below the ten that a supervisor grants

# A message of OTLP never starts with these: they would be a field of a kind that does not exist.
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SERVING: Final = b"\x08\x01"
_NOT_SERVING: Final = b"\x08\x02"
_RETRY_DETAILS: Final = "grpc-status-details-bin"
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", BOUNDS.sent_bytes),
    ("grpc.per_message_decompression", 0),  # ours is bounded by what it makes, and gives way to a full gate
    ("grpc.compression_enabled_algorithms_bitset", 0b101),  # identity and gzip
    ("grpc.so_reuseport", 0),  # a port that another process has is an error, not a share of its senders
    ("grpc.max_concurrent_streams", 128),  # of one connection; a client holds back what is more
    ("grpc.http2.max_pings_without_data", 0),  # a Collector keeps idle connections alive
)
_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,  # without RetryInfo: sending it again cannot help
    415: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

_STATUSES: Final = {status.value[0]: status for status in grpc.StatusCode}  # a context tells a status as its number

_log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Ready: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TraceService:
    """Takes exports of spans."""

    door: Door
    edge: UsageEdge
    gate: Gate

    async def export(self, messages: AsyncIterator[bytes], context: Context) -> bytes:
        """Answer with an ExportTraceServiceResponse once the usage is durable, else with a status."""
        said = _metadata_of(context)
        with span(EXPORT, parent=said.get(TRACEPARENT, ""), server=True), _measured(EXPORT, context):
            try:
                return await self._taken(messages, said, _address_of(context.peer()))
            except MaestroError as error:
                refusal = error
            except (OSError, TimeoutError):
                refusal = Unavailable("a store or the broker does not answer")
            except Exception:  # noqa: BLE001 - as for HTTP in libs/runtime/web.py: the unforeseen gets an answer, too
                _log.exception("unexpected error")
                refusal = Broken("unexpected error; its trace is in the log")
            await _refuse(context, refusal)
        raise refusal  # never reached: the refusal ends the call

    async def _taken(self, messages: AsyncIterator[bytes], said: dict[str, str], address: str) -> bytes:
        forwarded = [said["x-forwarded-for"]] if "x-forwarded-for" in said else []
        caller = await self.door.admit(said.get("authorization"), address, forwarded)
        caller.require("usage:write")
        self.edge.require_room(caller)
        with self.gate.enter(sender_of(caller)) as load:
            received = load.received(await _receive(messages, self.gate.receive_s))
            body = load.inflated(received, "gzip" if received.startswith(_GZIP_MAGIC) else "")
            taken = self.edge.intake(caller.tenant).spans(from_protobuf(body))
            await self.edge.keep(taken)
        return export_answer(taken, as_json=False)


@asynccontextmanager
async def serving(address: str, service: TraceService, ready: Ready) -> AsyncIterator[int]:
    """Serve at `address` (host:port, port 0 for any) until the block ends, then drain; give the port.

    Raises Broken where the address cannot be listened at.
    """
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_handlers(TRACES, Export=service.export), _handlers(HEALTH, Check=_health(ready))))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise Broken(f"cannot listen for OTLP/gRPC at {address}: is MAESTRO_OTLP_GRPC_PORT taken?") from error
    await server.start()
    try:
        yield port
    finally:
        await server.stop(DRAIN_S)


@contextmanager
def _measured(method: str, context: Context) -> Iterator[None]:
    """Measure a call by the status that it ended with; one that its caller gave up had none."""
    loop_time_s = asyncio.get_running_loop().time
    begun_s = loop_time_s()
    try:
        yield
    except asyncio.CancelledError:
        raise
    except Exception:
        metrics.CALL_DURATION.record(loop_time_s() - begun_s, _labels(method, context.code()))
        raise
    metrics.CALL_DURATION.record(loop_time_s() - begun_s, _labels(method, grpc.StatusCode.OK))


def _labels(method: str, code: grpc.StatusCode | int) -> dict[str, str]:
    status = _STATUSES[code] if isinstance(code, int) else code
    return {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": status.name}


def _handlers(
    name: str, **methods: Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]
) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        name, {method: grpc.stream_unary_rpc_method_handler(call) for method, call in methods.items()}
    )


def _health(ready: Ready) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
    async def check(_messages: AsyncIterator[bytes], _context: Context) -> bytes:
        try:
            await ready()
        except Unavailable:
            return _NOT_SERVING
        return _SERVING

    return check


async def _receive(messages: AsyncIterator[bytes], within_s: float) -> bytes:
    try:
        async with asyncio.timeout(within_s):
            async for message in messages:
                return message
    except TimeoutError as error:
        raise BodyTooSlow(f"a message comes within {within_s:g} seconds; send smaller ones") from error
    raise BadBody("the call brought no message")


async def _refuse(context: Context, error: MaestroError) -> None:
    """End the call with the status that belongs to `error`; where trying again can help, it says when."""
    metrics.count_denial(error, error.status)
    code = _CODES.get(error.status, grpc.StatusCode.INTERNAL)
    text = f"{error.code}: {error.detail}"
    retry_after = error.headers.get("retry-after")
    if retry_after is not None:
        status = Status(code=code.value[0], message=text)
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=int(retry_after))))
        context.set_trailing_metadata(((_RETRY_DETAILS, status.SerializeToString()),))
    await context.abort(code, text)


def _metadata_of(context: Context) -> dict[str, str]:
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}


def _address_of(peer: str) -> str:
    """Return the address in `ipv4:127.0.0.1:4317` or `ipv6:%5B::1%5D:4317`; a peer without one is named as it is."""
    kind, _, place = peer.partition(":")
    return unquote(place).rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else peer
