"""OTLP over gRPC is the same door as over HTTP: keys, tenants, bounds, backpressure; statuses are those of OTLP."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import pytest

from libs.bus.memory import MemoryBus
from libs.runtime.clock import ManualClock
from libs.runtime.errors import Broken
from libs.runtime.metrics import start_metrics
from libs.schemas.values import microseconds
from services.metering import rpc
from services.metering.domain.bounds import BOUNDS
from services.metering.handlers.edge import Gate
from services.metering.settings import MeteringSettings
from tests.support.access import bearer
from tests.support.conditions import eventually
from tests.support.exposed import exposed
from tests.support.metering import export, graphql_span
from tests.support.metering_world import World, metering_world
from tests.support.otlp_grpc import EXPORT, Answer, OtlpClient, otlp_client

Streamed: TypeAlias = "grpc.aio.StreamUnaryMultiCallable[bytes, bytes]"
CODE = grpc.StatusCode
CALLS = "gql_calls"
EMPTY = gzip.compress(b"", mtime=0)


@pytest.fixture
def settings(settings: MeteringSettings) -> MeteringSettings:
    return settings.model_copy(update={"otlp_grpc_port": 0})


@pytest.fixture
async def world(settings: MeteringSettings, broker: MemoryBus, clock: ManualClock) -> AsyncIterator[World]:
    async with metering_world(settings, broker, clock) as served:
        yield served


@pytest.fixture
async def client(world: World) -> AsyncIterator[OtlpClient]:
    async with otlp_client(world.app.state.otlp_grpc_port) as opened:
        yield opened


def spans(world: World, tenant: str | None, count: int = 1) -> bytes:
    """An export of so many GraphQL calls that end now."""
    now_ns = microseconds(world.clock.now()) * 1000
    attributes = {"maestro.tenant.id": tenant}
    made = [
        graphql_span(number, attributes=attributes, start_time_unix_nano=now_ns, end_time_unix_nano=now_ns)
        for number in range(1, count + 1)
    ]
    return export(made).SerializeToString()


async def send(client: OtlpClient, world: World, tenant: str, count: int = 1) -> Answer:
    return await client.export(spans(world, tenant, count), bearer(world.keys[tenant]))


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_spans_are_counted_once_however_often_they_are_sent(
    world: World, client: OtlpClient, compression: grpc.Compression
) -> None:
    tenant = await world.new_tenant()
    for _ in range(2):
        answer = await client.export(spans(world, tenant, 3), bearer(world.keys[tenant]), compression=compression)
        assert (answer.code, answer.partial and answer.partial.rejected_spans) == (CODE.OK, 0)
    await world.until_total(tenant, 3, CALLS)
    await world.until_all_is_counted()
    assert await world.total(tenant, CALLS) == 3


async def test_spans_over_both_doors_are_the_same_spans(world: World, client: OtlpClient) -> None:
    tenant = await world.new_tenant()
    assert (await send(client, world, tenant, 2)).code is CODE.OK
    media = {"content-type": "application/x-protobuf"}
    await world.post("/v1/traces", world.keys[tenant], content=spans(world, tenant, 2), headers=media)
    await world.until_all_is_counted()
    assert await world.total(tenant, CALLS) == 2


async def test_a_partial_success_names_what_was_rejected(world: World, client: OtlpClient) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    answer = await client.export(spans(world, other, 2), bearer(world.keys[tenant]))
    assert answer.code is CODE.OK
    assert answer.partial is not None
    assert answer.partial.rejected_spans == 2
    assert "wrong_tenant" in answer.partial.error_message
    await world.until_all_is_counted()
    assert await world.total(other, CALLS) == 0


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic bWFlc3Rybw=="])
async def test_nobody_sends_spans_without_a_key(world: World, client: OtlpClient, authorization: str | None) -> None:
    answer = await client.export(spans(world, None), authorization)
    assert (answer.code, answer.retry_s) == (CODE.UNAUTHENTICATED, None)


async def test_a_key_without_the_scope_sends_nothing(world: World, client: OtlpClient) -> None:
    tenant = await world.new_tenant()
    reader = await world.new_key("tenant", tenant_id=tenant, scopes=("usage:read",))
    answer = await client.export(spans(world, tenant), bearer(reader))
    assert answer.code is CODE.PERMISSION_DENIED


async def test_an_address_that_guesses_keys_is_told_when_to_come_again(world: World, client: OtlpClient) -> None:
    answers = [await client.export(spans(world, None), "Bearer nonsense") for _ in range(61)]
    assert {answer.code for answer in answers[:60]} == {CODE.UNAUTHENTICATED}
    assert answers[60].code is CODE.RESOURCE_EXHAUSTED
    assert (answers[60].retry_s or 0) >= 1


async def test_a_full_gate_asks_for_the_same_spans_again(world: World, client: OtlpClient) -> None:
    tenant = await world.new_tenant()
    world.app.state.gate._max_requests = 0
    answer = await send(client, world, tenant)
    assert (answer.code, answer.retry_s) == (CODE.UNAVAILABLE, 1)
    assert "intake_full" in answer.text


@pytest.mark.parametrize(
    ("authorization", "code", "status"),
    [("none", "unauthenticated", "401"), ("reader", "forbidden", "403"), ("sender", "intake_full", "503")],
)
async def test_a_denied_call_is_counted_as_a_denied_request_is(
    world: World, client: OtlpClient, authorization: str, code: str, status: str
) -> None:
    start_metrics("metering")
    tenant = await world.new_tenant()
    reader = await world.new_key("tenant", tenant_id=tenant, scopes=("usage:read",))
    world.app.state.gate._max_requests = 0
    given = {"none": "Bearer nonsense", "reader": bearer(reader), "sender": bearer(world.keys[tenant])}
    before = sum(exposed("maestro_http_denied_total", code=code, status=status))
    await client.export(spans(world, tenant), given[authorization])
    assert sum(exposed("maestro_http_denied_total", code=code, status=status)) == before + 1


async def test_a_call_past_the_limit_of_attempts_is_counted_and_one_that_is_taken_is_not(
    world: World, client: OtlpClient
) -> None:
    start_metrics("metering")
    tenant = await world.new_tenant()
    assert (await send(client, world, tenant)).code is CODE.OK
    before = sum(exposed("maestro_http_denied_total"))
    assert (await send(client, world, tenant)).code is CODE.OK
    assert sum(exposed("maestro_http_denied_total")) == before
    limited = sum(exposed("maestro_http_denied_total", code="too_many_attempts", status="429"))
    codes = [(await client.export(spans(world, None), "Bearer nonsense")).code for _ in range(61)]
    counted = sum(exposed("maestro_http_denied_total", code="too_many_attempts", status="429")) - limited
    assert counted == codes.count(CODE.RESOURCE_EXHAUSTED) > 0


async def test_a_broker_that_does_not_answer_asks_for_the_same_spans_again(
    world: World, client: OtlpClient, broker: MemoryBus
) -> None:
    tenant = await world.new_tenant()
    broker.down = True
    answer = await send(client, world, tenant)
    assert (answer.code, answer.retry_s) == (CODE.UNAVAILABLE, 1)
    broker.down = False
    assert (await send(client, world, tenant)).code is CODE.OK
    await world.until_total(tenant, 1, CALLS)


@pytest.mark.parametrize("body", [b"\xff\xff", b"\x1f\x8b no gzip", EMPTY[:-1], EMPTY + b"x"])
async def test_what_is_no_export_is_refused_for_good(world: World, client: OtlpClient, body: bytes) -> None:
    tenant = await world.new_tenant()
    answer = await client.export(body, bearer(world.keys[tenant]))
    assert (answer.code, answer.retry_s) == (CODE.INVALID_ARGUMENT, None)


async def test_a_message_past_the_bound_is_refused_for_good(world: World, client: OtlpClient) -> None:
    tenant = await world.new_tenant()
    answer = await client.export(bytes(BOUNDS.sent_bytes + 1), bearer(world.keys[tenant]))
    assert (answer.code, answer.retry_s) == (CODE.RESOURCE_EXHAUSTED, None)


async def test_a_gzip_bomb_is_refused_for_good(world: World, client: OtlpClient) -> None:
    tenant = await world.new_tenant()
    answer = await client.export(gzip.compress(bytes(BOUNDS.plain_bytes + 1)), bearer(world.keys[tenant]))
    assert (answer.code, answer.retry_s) == (CODE.RESOURCE_EXHAUSTED, None)
    assert "body_too_large" in answer.text


async def test_another_compression_is_refused_by_name(world: World, client: OtlpClient) -> None:
    tenant = await world.new_tenant()
    answer = await client.export(spans(world, tenant), bearer(world.keys[tenant]), compression=grpc.Compression.Deflate)
    assert answer.code is CODE.UNIMPLEMENTED


async def test_a_sender_without_a_key_holds_no_room_for_its_message(world: World, client: OtlpClient) -> None:
    world.app.state.gate._max_bytes = 0
    answer = await client.export(bytes(1024 * 1024), "Bearer nonsense")
    assert answer.code is CODE.UNAUTHENTICATED


async def test_the_server_says_that_it_serves(client: OtlpClient) -> None:
    assert await client.health() == b"\x08\x01"


async def test_the_service_listens_for_no_grpc_unless_it_is_told_to(
    settings: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    async with metering_world(settings.model_copy(update={"otlp_grpc_port": None}), broker, clock) as quiet:
        assert not hasattr(quiet.app.state, "otlp_grpc_port")


async def test_a_port_that_is_taken_stops_the_start_with_a_name(world: World) -> None:
    service = rpc.TraceService(world.app.state.door, world.app.state.edge, Gate())

    async def ready() -> None:
        """It is."""

    with pytest.raises(Broken, match="MAESTRO_OTLP_GRPC_PORT"):
        async with rpc.serving(f"127.0.0.1:{world.app.state.otlp_grpc_port}", service, ready):
            pass


async def test_a_call_under_way_is_answered_before_the_server_ends(world: World) -> None:
    tenant = await world.new_tenant()
    state, may_send = world.app.state, asyncio.Event()
    gate: Gate = state.gate

    async def ready() -> None:
        """It is."""

    async def message() -> AsyncIterator[bytes]:
        await may_send.wait()
        yield spans(world, tenant)

    async def under_way() -> bool:
        return gate._requests.total() == 1

    server = rpc.serving("127.0.0.1:0", rpc.TraceService(state.door, state.edge, state.gate), ready)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await server.__aenter__()}") as channel:
        call: Streamed = channel.stream_unary(EXPORT)
        answer = call(message(), metadata=(("authorization", bearer(world.keys[tenant])),))
        await eventually(under_way, "the call is under way")
        ending = asyncio.create_task(server.__aexit__(None, None, None))
        may_send.set()
        assert await answer == b""
        await ending
    await world.until_total(tenant, 1, CALLS)


@pytest.mark.parametrize(("key", "status"), [("sender", "OK"), ("none", "UNAUTHENTICATED")])
async def test_every_call_is_measured_by_the_status_that_it_ended_with(
    world: World, client: OtlpClient, key: str, status: str
) -> None:
    start_metrics("metering")
    tenant = await world.new_tenant()
    given = {"none": "Bearer nonsense", "sender": bearer(world.keys[tenant])}
    labels = {"rpc_method": EXPORT.removeprefix("/"), "rpc_response_status_code": status}
    before = sum(exposed("rpc_server_call_duration_seconds_count", **labels))
    await client.export(spans(world, tenant), given[key])
    assert sum(exposed("rpc_server_call_duration_seconds_count", **labels)) == before + 1
