"""Spans of a stock SDK, through the real Collector, by Kafka and the router to usage: each counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from secrets import token_bytes, token_urlsafe

import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from libs.access.keys import ApiKey, new_key
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.kafka.administration import administration
from libs.bus.records import Record, TopicPartition
from libs.schemas.topics import registry
from services.metering.domain.spans_json import from_json
from services.metering.settings import MeteringSettings
from tests.support.access import ENV
from tests.support.kafka import KafkaOf
from tests.support.metering_world import World, metering_world
from tests.support.otelcol import collecting, send_calls, told

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1900)]
SPANS, CALLS, LOGIN = "otlp_spans", "gql_calls", "collector"


@pytest.fixture(scope="module")
def edge_key() -> ApiKey:
    """The key that the topic is bound to."""
    return new_key(ENV, token_bytes)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    module_database: Callable[..., str], kafka: KafkaAccess, kafka_of: KafkaOf, edge_key: ApiKey
) -> AsyncIterator[World]:
    settings = MeteringSettings(postgres_url=module_database("metering"), otlp_spans_key_id=edge_key.key_id)
    connection = KafkaBus(kafka, client_id="test")
    await connection.start()
    async with metering_world(settings, KafkaBus(kafka_of("metering"), client_id="metering.0")) as served:
        served.bus = connection
        yield served
    await connection.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def password_file(kafka: KafkaAccess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The password of a login that may write to the topic and do nothing else."""
    secret, path = token_urlsafe(), tmp_path_factory.mktemp("login") / "password"
    path.write_text(secret, encoding="ascii")
    async with administration(kafka) as broker:
        await broker.set_passwords({LOGIN: secret})
        await broker.apply_acls(registry().values())
    return path


@pytest.fixture(scope="module")
def ways(kafka: KafkaAccess, kafka_over_tls: KafkaAccess, password_file: Path) -> dict[str, dict[str, object]]:
    """What the Collector is told of its login and of the broker's two listeners."""
    login = {"otelcol_kafka_user": LOGIN, "otelcol_kafka_password_file": password_file}
    return {
        "plaintext": {"kafka_bootstrap": kafka.bootstrap, "otelcol_kafka_plaintext": "true", **login},
        "TLS": {"kafka_bootstrap": kafka_over_tls.bootstrap, "kafka_ca_file": kafka_over_tls.ca_file, **login},
    }


@pytest.mark.parametrize(
    ("encoding", "way"), [("otlp_proto", "plaintext"), ("otlp_json", "plaintext"), ("otlp_proto", "TLS")]
)
async def test_every_span_is_counted_once_and_lies_under_its_traces_id(
    otelcol: Path,
    world: World,
    edge_key: ApiKey,
    ways: dict[str, dict[str, object]],
    tmp_path: Path,
    encoding: str,
    way: str,
) -> None:
    tenant = await world.admitted(edge_key)
    environment = told(tmp_path / "state", **ways[way], otelcol_encoding=encoding)
    before = await world.bus.end_offsets(SPANS)
    with collecting(otelcol, "to-kafka", environment, tmp_path / "log") as collector:
        traces = await asyncio.to_thread(send_calls, collector, tenant, 40)
        await world.until_total(tenant, 40, CALLS)
    await world.until_routed(SPANS)
    await world.until_all_is_counted()
    assert await world.total(tenant, CALLS) == 40
    records = await written_since(world, before)
    assert sorted(record.key or b"" for record in records) == sorted(f"{trace:032x}".encode() for trace in traces)
    assert {trace_of(record, encoding) for record in records} == {(record.key or b"").decode() for record in records}


async def written_since(world: World, before: Mapping[int, int]) -> list[Record]:
    """Return what lies behind these offsets."""
    reader = world.bus.reader(SPANS)
    left = {TopicPartition(SPANS, place): end for place, end in (await reader.start()).items() if end}
    records: list[Record] = []
    while left:
        fetched = await reader.poll()
        records += [record for record in fetched.records if record.offset >= before.get(record.partition, 0)]
        left = {place: end for place, end in left.items() if fetched.positions.get(place, 0) < end}
    await reader.stop()
    return records


def trace_of(record: Record, encoding: str) -> str:
    """Return the id of the one trace that the record holds."""
    body = record.value or b""
    if encoding == "otlp_json":
        return {span.trace_id.hex() for span in from_json(body)}.pop()
    spans = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    return spans[0].trace_id.hex()
