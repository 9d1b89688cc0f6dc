"""What a writer with rights to a foreign topic can do to its reader: set records aside, and no more, on real Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from libs.access.keys import ApiKey
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import MAX_HEADERS
from services.metering.settings import MeteringSettings
from tests.support.kafka import KafkaOf
from tests.support.metering_world import Json, World, metering_world
from tests.support.raw_batches import (
    GZIP,
    LZ4,
    NONE,
    SNAPPY,
    ZSTD,
    endless_headers,
    raw_batch,
    raw_record,
    squeezed,
    write_raw,
    zeros,
)

from .test_bombs import Peak

EVENTS, SPANS = "usage-events", "otlp_spans"
ILL_NAMED = ((b"ce_x", b"1"), (b"\xff\xfe", b"2"))
BOMB_BYTES = 600 * 1024 * 1024
GROWTH_MIB = 192


@pytest.fixture
async def world(bound: MeteringSettings, kafka: KafkaAccess, kafka_of: KafkaOf) -> AsyncIterator[World]:
    connection = KafkaBus(kafka, client_id="test")
    await connection.start()
    async with metering_world(bound, KafkaBus(kafka_of("metering"), client_id="metering.0")) as served:
        served.bus = connection
        yield served
    await connection.stop()


def value(event: Json) -> bytes:
    return json.dumps(event).encode()


async def letters_of(world: World, topic: str, count: int, before: int) -> list[dict[str, str]]:
    found = await world.dead_letters(topic, before + count)
    return [{name: (text or b"").decode() for name, text in one.headers} for one in found[before:]]


async def ends(world: World, topic: str) -> int:
    return sum((await world.bus.end_offsets(topic)).values())


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
async def test_a_header_name_that_is_no_text_costs_its_record_alone(
    world: World, kafka: KafkaAccess, edge_key: ApiKey, codec: int
) -> None:
    tenant, before = await world.admitted(edge_key), await ends(world, f"{EVENTS}-dlq")
    first = (await world.bus.end_offsets(EVENTS))[3]
    events = [value(world.event(tenant, str(number), 5)) for number in range(4)]
    records = [raw_record(n, events[n], ILL_NAMED if n == 1 else ()) for n in range(3)]
    await write_raw(
        kafka, EVENTS, 3, raw_batch(squeezed(records, codec), 3, codec), raw_batch(raw_record(0, events[3]), 1)
    )
    await world.until_total(tenant, 15)
    [letter] = await letters_of(world, EVENTS, 1, before)
    assert letter["maestro_reason"] == "unread_record"
    assert letter["maestro_cause"] == "the name of a header is not UTF-8"
    assert letter["maestro_payload"] == "reference"
    assert letter["maestro_offset"] == str(first + 1)


async def test_a_bomb_is_passed_over_and_fills_no_memory(world: World, kafka: KafkaAccess, edge_key: ApiKey) -> None:
    tenant = await world.admitted(edge_key)
    bomb = raw_batch(squeezed(zeros(BOMB_BYTES), ZSTD), 1, ZSTD)
    good = [raw_batch(raw_record(0, value(world.event(tenant, str(number), 5))), 1) for number in range(2)]
    before = {topic: await ends(world, f"{topic}-dlq") for topic in (EVENTS, SPANS)}
    peak = Peak()
    await write_raw(kafka, SPANS, 2, bomb)
    await write_raw(kafka, EVENTS, 2, good[0], bomb, bomb, good[1])
    async with asyncio.timeout(20):
        await world.until_total(tenant, 10)
        told = await letters_of(world, EVENTS, 2, before[EVENTS]) + await letters_of(world, SPANS, 1, before[SPANS])
    growth_mib = peak.growth_mib
    assert {letter["maestro_reason"] for letter in told} == {"unread_record"}
    assert all("compressed bytes hold more than 16777216" in letter["maestro_cause"] for letter in told)
    assert len(bomb) < 100_000
    assert growth_mib < GROWTH_MIB


async def test_headers_without_end_fill_no_memory(world: World, kafka: KafkaAccess, edge_key: ApiKey) -> None:
    tenant, before = await world.admitted(edge_key), await ends(world, f"{EVENTS}-dlq")
    records = [raw_batch(squeezed([endless_headers(7_000_000)], ZSTD), 1, ZSTD)] * 3
    records.append(raw_batch(endless_headers(MAX_HEADERS + 1), 1))
    records.append(raw_batch(raw_record(0, value(world.event(tenant, "good", 5))), 1))
    peak = Peak()
    await write_raw(kafka, EVENTS, 5, *records)
    await world.until_total(tenant, 5)
    told = await letters_of(world, EVENTS, 4, before)
    assert {letter["maestro_cause"] for letter in told} == {f"a record has at most {MAX_HEADERS} headers"}
    assert peak.growth_mib < GROWTH_MIB
