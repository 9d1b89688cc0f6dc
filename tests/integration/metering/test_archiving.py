"""Metering with its archive on: totals built again from files are the live ones; trouble with files stops no count."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from libs.bus.memory import MemoryBus
from libs.bus.records import Message, TopicPartition
from libs.runtime.clock import ManualClock
from libs.runtime.metrics import exposition, start_metrics
from libs.schemas.values import TenantId, microseconds, rfc3339
from services.metering.domain.comparing import Compared, Verdict
from services.metering.domain.gauges import Span
from services.metering.errors import ArchiveDamaged, BadQuery
from services.metering.handlers.recomputing import Asked, Recomputation, Recomputed
from services.metering.settings import MeteringSettings
from services.metering.store.archive.folder import ArchiveFolder
from tests.support.archive import ask, spots, until_archived
from tests.support.conditions import eventually
from tests.support.metering import default_meters
from tests.support.metering_world import World, metering_world


@pytest.fixture
def world(archiving_world: World) -> World:
    return archiving_world


@pytest.fixture
def folder(archiving: MeteringSettings) -> Path:
    return archiving.archive_folder


async def recomputed(world: World, folder: Path, tenant: TenantId, *metrics: str) -> Recomputed:
    now_us, days_us = microseconds(world.clock.now()), 3 * 86_400_000_000
    asked = Asked(
        tenant, metrics or ("ingest_events",), Span(now_us - now_us % 900_000_000 - days_us, now_us + days_us)
    )
    by = Recomputation(world.bus, world.pool, ArchiveFolder(folder), default_meters(), world.clock)
    return await by.run(asked)


async def settled(world: World) -> None:
    await world.until_all_is_counted()
    await until_archived(world.bus, world.pool)


def verdicts(found: Recomputed) -> list[tuple[str, Verdict]]:
    return [(str(one.archived), one.verdict) for one in found.windows]


async def test_totals_from_the_archive_are_the_live_ones_with_copies_and_conflicts(world: World, folder: Path) -> None:
    tenant, other = await world.new_tenant(), await world.new_tenant()
    far_back = rfc3339(world.clock.now() - timedelta(days=2))
    events = [world.event(tenant, str(number), "0.1") for number in range(50)]
    await world.send(tenant, *events, world.event(tenant, "old", "9007199254740993", time=far_back))
    await settled(world)
    await world.send(tenant, *events[:20], world.event(tenant, "7", 1000))
    await world.send(other, world.event(other, "7", 3))
    await settled(world)
    found = await recomputed(world, folder, tenant)
    assert verdicts(found) == [("9007199254740993", Verdict.AGREES), ("5.0", Verdict.AGREES)]
    assert (found.events, found.copies, found.conflicts) == (51, 20, 1)
    assert found.archived_to is not None
    lying = spots(folder)
    assert len(lying) == len(set(lying)) == 73
    exact = ask(
        folder, "day::text, count(*), sum(amounts['ingest_events'])", f"tenant = '{tenant}' GROUP BY day ORDER BY day"
    )
    assert [(day, count) for day, count, _ in exact] == [("2026-11-22", 1), ("2026-11-24", 71)]
    assert [str(total) for _, _, total in exact] == ["9007199254740993.000000000000", "1007.000000000000"]


async def test_a_live_total_that_was_changed_is_seen(world: World, folder: Path) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5))
    await settled(world)
    await world.pool.execute("UPDATE usage_window SET value = value + 0.000000000001")
    assert verdicts(await recomputed(world, folder, tenant)) == [("5", Verdict.DIFFERS)]


async def test_storage_is_integrated_again_to_the_byte_microsecond(
    world: World, folder: Path, clock: ManualClock
) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.level(tenant, "1", 10**15 + 1), world.level(tenant, "1b", 7, source="other"))
    clock.advance(timedelta(minutes=31))
    await world.send(tenant, world.level(tenant, "2", 3))
    clock.advance(timedelta(minutes=31))
    await settled(world)
    compared: list[Compared] = []

    async def integrated() -> bool:
        compared[:] = (await recomputed(world, folder, tenant, "storage_gb")).windows
        return [one.verdict for one in compared].count(Verdict.AGREES) == 4

    await eventually(integrated, "four quarters of an hour are integrated and agree", every_s=0.2)
    assert {one.verdict for one in compared} == {Verdict.AGREES, Verdict.NOT_INTEGRATED_YET}
    assert compared[1].archived == compared[1].live > 0


async def test_usage_that_is_counted_and_not_archived_yet_is_named_and_not_compared(
    archiving: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    lazy = archiving.model_copy(update={"archive_max_age_s": 3600.0})
    async with metering_world(lazy, broker, clock) as world:
        tenant = await world.new_tenant()
        await world.send(tenant, world.event(tenant, "1", 5))
        await world.until_total(tenant, 5)
        found = await recomputed(world, lazy.archive_folder, tenant)
    assert [(one.live, one.verdict) for one in found.windows] == [(Decimal(5), Verdict.NOT_ARCHIVED_YET)]


async def test_windows_of_before_the_archive_was_switched_on_and_records_were_dropped_are_not_compared(
    archiving: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    off = archiving.model_copy(update={"archive": False})
    async with metering_world(off, broker, clock) as world:
        tenant = await world.new_tenant()
        await world.send(tenant, *(world.event(tenant, str(number)) for number in range(40)))
        await world.until_total(tenant, 40)
        keys = world.keys
    for partition, end in (await broker.end_offsets("usage-shards")).items():
        broker.drop_before(TopicPartition("usage-shards", partition), end)
    clock.advance(timedelta(hours=1))
    async with metering_world(archiving, broker, clock) as world:
        world.keys = keys
        await world.send(tenant, *(world.event(tenant, f"later {number}") for number in range(80)))
        await settled(world)
        before = await recomputed(world, archiving.archive_folder, tenant)
    assert [(one.live, one.verdict) for one in before.windows] == [
        (Decimal(40), Verdict.BEFORE_THE_ARCHIVE),
        (Decimal(80), Verdict.BEFORE_THE_ARCHIVE),
    ]


async def test_a_record_that_was_set_aside_counts_in_neither(world: World, folder: Path) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5))
    await settled(world)
    [(partition, offset)] = ask(folder, "kafka_partition, kafka_offset", f"tenant = '{tenant}'")
    reader = world.bus.reader("usage-shards")
    await reader.start({partition: offset})
    [record] = [one for one in (await reader.poll()).records if one.offset == offset and one.partition == partition]
    assert record.value is not None
    # PostgreSQL takes no NUL in text: the shard's owner sets the record aside, and the archiver does not know.
    bad = record.value.replace(b"ingest\x00", b"ing\x00st\x00").replace(b"test", b"te\x00t")
    await world.bus.publisher.publish([Message("usage-shards", record.key, bad, (), partition)])
    await settled(world)
    found = await recomputed(world, folder, tenant)
    assert verdicts(found) == [("5", Verdict.AGREES)]


async def test_a_metric_without_a_meter_is_refused_by_name(world: World, folder: Path) -> None:
    tenant = await world.new_tenant()
    with pytest.raises(BadQuery, match="gql_calls, ingest_events, storage_gb"):
        await recomputed(world, folder, tenant, "nonsense")


async def test_a_file_that_was_changed_or_is_gone_is_named(world: World, folder: Path) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "1", 5))
    await settled(world)
    [file] = (folder / "usage").glob("*/*/*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    with pytest.raises(ArchiveDamaged, match="is not what was written"):
        await recomputed(world, folder, tenant)
    file.unlink()
    with pytest.raises(ArchiveDamaged, match="cannot be read"):
        await recomputed(world, folder, tenant)


async def test_a_glob_holds_each_record_at_most_once_at_any_instant(world: World, folder: Path) -> None:
    tenant = await world.new_tenant()
    looks: list[int] = []

    async def look_on() -> None:
        while True:
            try:
                lying = await asyncio.to_thread(spots, folder)
            except OSError:
                continue
            assert len(lying) == len(set(lying))
            looks.append(len(lying))

    watching = asyncio.create_task(look_on())
    for number in range(20):
        await world.send(tenant, *(world.event(tenant, f"{number}-{event}") for event in range(20)))
    await settled(world)
    before = len(looks)
    await eventually(longer_than(looks, before + 1), "somebody looked once more")
    watching.cancel()
    assert looks[-1] == 400
    assert sorted(looks) == looks


def longer_than(looks: list[int], count: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return len(looks) > count

    return holds


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No process of ours may write a larger file: as on a full disk, writing fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_seen_and_stops_no_counting_and_nothing_is_lost(world: World, folder: Path) -> None:
    start_metrics("metering")
    tenant = await world.new_tenant()
    with files_of_at_most(1024):
        await world.send(tenant, *(world.event(tenant, str(number)) for number in range(200)))
        await world.until_total(tenant, 200)

        async def seen() -> bool:
            return archive_stands() == 1.0

        await eventually(seen, "the metric says that the archiver stands")
        assert spots(folder) == []
        await world.send(tenant, world.event(tenant, "meanwhile"))
        await world.until_total(tenant, 201)
        waiting = list((folder / "staging").rglob("*.parquet"))
        assert len(waiting) <= 8
    await settled(world)

    async def goes_on() -> bool:
        return archive_stands() == 0.0

    await eventually(goes_on, "the metric says that the archiver goes on")
    assert verdicts(await recomputed(world, folder, tenant)) == [("201", Verdict.AGREES)]
    assert list((folder / "staging").rglob("*.parquet")) == []


def archive_stands() -> float:
    """What the process shows now."""
    lines = exposition().decode().splitlines()
    [shown] = [line for line in lines if line.startswith("maestro_metering_archive_stands")]
    return float(shown.rsplit(" ", 1)[1])
