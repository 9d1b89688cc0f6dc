"""The ways by which usage comes in: HTTP, OTLP over gRPC, and Kafka. Each carries a lot once and says how that went."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import Message
from libs.runtime.errors import Unavailable
from tests.support.otlp_grpc import EXPORT

ACCEPTED: Final = ""
EVENTS_TOPIC: Final = "usage-events"
SPANS_TOPIC: Final = "otlp_spans"
WITHIN_S: Final = 15.0
COMES_BACK: Final = frozenset({401, 429, 502, 503, 504})  # 401: a process that starts has not read the keys yet
FINAL: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)
# A channel that waits longer and longer for a server that is killed again and again would wait out the test.
EAGER: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant as a sender knows it; `by_kafka` where the key that the topics are bound to may name it."""

    tenant_id: str
    key: str = field(repr=False)
    by_kafka: bool = False


@dataclass(frozen=True, slots=True)
class Lot:
    """One request: what it is as HTTP, as gRPC (None: no such door) and as a record, and what it adds up to."""

    account: Account
    path: str
    content_type: str
    body: bytes
    rpc: bytes | None
    topic: str
    record: bytes
    adds: Counter[str]


class NotAccepted(Exception):
    """A lot was refused, or accepted by nobody in time: nothing about exactness can be said."""


Way = Callable[[Lot], str]
"""Carries a lot: ACCEPTED, or why it has to be carried again. Raises NotAccepted where that is no use."""


def by_http(client: httpx.Client, lot: Lot) -> str:
    """POST it."""
    headers = {"authorization": f"Bearer {lot.account.key}", "content-type": lot.content_type}
    try:
        answer = client.post(lot.path, content=lot.body, headers=headers)
    except httpx.TransportError as error:
        return type(error).__name__
    if answer.status_code in {200, 204} and b"rejected" not in answer.content.lower():
        return ACCEPTED
    if answer.status_code not in COMES_BACK:
        raise NotAccepted(f"{lot.path}: {answer.status_code} {answer.text[:500]}")
    return str(answer.status_code)


def by_grpc(channel: grpc.Channel, lot: Lot) -> str:
    """Export it."""
    export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
    assert lot.rpc is not None
    try:
        answer = export(lot.rpc, timeout=WITHIN_S, metadata=(("authorization", f"Bearer {lot.account.key}"),))
    except grpc.RpcError as error:
        code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
        if code in FINAL:
            raise NotAccepted(f"gRPC: {error}") from error
        return str(code.name)
    refused = ExportTraceServiceResponse.FromString(answer).partial_success
    if refused.rejected_spans:
        raise NotAccepted(f"gRPC: {refused.rejected_spans} spans refused: {refused.error_message}")
    return ACCEPTED


class KafkaWriters:
    """One login a topic, as others write to it; records are accepted once all in-sync replicas have them."""

    def __init__(self, logins: Mapping[str, KafkaAccess]) -> None:
        """Write to each topic by its login."""
        self._logins = logins
        self._loop = asyncio.new_event_loop()
        self._buses: dict[str, KafkaBus] = {}
        self._starting = asyncio.Lock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep the connections while the block runs."""
        thread = threading.Thread(target=self._loop.run_forever, name="kafka writers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(WITHIN_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def carry(self, lot: Lot) -> str:
        """Write it as one record, under no key: which partition it takes is nobody's matter."""
        writing = asyncio.run_coroutine_threadsafe(self._write(Message(lot.topic, None, lot.record)), self._loop)
        try:
            writing.result(WITHIN_S * 2)
        except (Unavailable, TimeoutError) as error:
            writing.cancel()
            return type(error).__name__
        return ACCEPTED

    async def _write(self, message: Message) -> None:
        bus = await self._bus(message.topic)
        await bus.publisher.publish([message])

    async def _bus(self, topic: str) -> KafkaBus:
        async with self._starting:
            if topic not in self._buses:
                bus = KafkaBus(self._logins[topic], client_id=f"chaos.{topic}")
                await bus.start()
                self._buses[topic] = bus
            return self._buses[topic]

    async def _stop(self) -> None:
        for bus in self._buses.values():
            await bus.stop()


class Doors:
    """All ways into one stack: where HTTP and gRPC are, and who may write to Kafka (nobody where no key is bound)."""

    def __init__(self, url: str, grpc_address: str, logins: Mapping[str, KafkaAccess]) -> None:
        """Know the addresses; nothing is opened yet."""
        self._url = url
        self._grpc_address = grpc_address
        self._kafka = KafkaWriters(logins) if logins else None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Connect to Kafka, where there is anything to write, while the block runs."""
        with ExitStack() as stack:
            if self._kafka:
                stack.enter_context(self._kafka.at_work())
            yield

    @contextmanager
    def ways(self) -> Iterator[Callable[[Lot], dict[str, Way]]]:
        """What tells which ways there are for a lot; the connections are of the thread that opens them."""
        with (
            httpx.Client(base_url=self._url, timeout=WITHIN_S, trust_env=False) as client,
            grpc.insecure_channel(self._grpc_address, options=EAGER) as channel,
        ):

            def of(lot: Lot) -> dict[str, Way]:
                found: dict[str, Way] = {"http": lambda one: by_http(client, one)}
                if lot.rpc is not None:
                    found["grpc"] = lambda one: by_grpc(channel, one)
                if self._kafka is not None and lot.account.by_kafka:
                    found["kafka"] = self._kafka.carry
                return found

            yield of
