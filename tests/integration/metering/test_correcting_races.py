"""Corrections under everything at once: two workers, cancelled work, batches and closes in between, other tenants."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from libs.access.keys import ApiKey
from libs.bus.memory import MemoryBus
from libs.runtime.clock import ManualClock
from libs.schemas.values import TenantId, microseconds, rfc3339
from libs.store.pool import Pool, transaction
from services.metering.domain.comparing import Verdict
from services.metering.domain.gauges import Span
from services.metering.domain.identity import Fingerprints
from services.metering.handlers.correcting import Correcting
from services.metering.handlers.reading import Reading
from services.metering.handlers.recomputing import Asked, Recomputation
from services.metering.settings import MeteringSettings
from services.metering.store import ids
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.fence import hold_fence
from tests.support.archive import until_archived
from tests.support.conditions import eventually
from tests.support.corrections import ask, corrector
from tests.support.metering import default_meters
from tests.support.metering_world import Json, World, metering_world

SEEDS = (20_261_124, 7, 99)
HOUR_US = 3_600_000_000
SKEW_US = 5_000_000


@pytest.fixture
def archiving(settings: MeteringSettings, tmp_path: Path) -> MeteringSettings:
    return settings.model_copy(update={"archive": True, "archive_dir": tmp_path / "archive", "archive_max_age_s": 0.05})


@pytest.fixture
async def world(archiving: MeteringSettings, broker: MemoryBus, clock: ManualClock) -> AsyncIterator[World]:
    async with metering_world(archiving, broker, clock) as served:
        yield served


@dataclass
class Model:
    """What a tenant is to have counted, told by the operations alone: nothing of metering's is asked."""

    amounts: dict[str, Decimal] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    times_us: dict[str, int] = field(default_factory=dict)

    def correct(self, name: str, number: int | None) -> None:
        """Have the event say this number; None where it is void."""
        self.amounts.pop(name, None)
        self.levels.pop(name, None)
        if number is not None and name in self.times_us:
            self.levels[name] = number
        elif number is not None:
            self.amounts[name] = Decimal(number)

    def total(self) -> Decimal:
        """All amounts that stand."""
        return sum(self.amounts.values(), Decimal(0))

    def integral(self, now_us: int) -> int:
        """The level over time, up to the watermark."""
        samples = sorted((self.times_us[name], name, level) for name, level in self.levels.items())
        ends = [at_us for at_us, _, _ in samples[1:]] + [now_us - SKEW_US]
        return sum(level * (end - at_us) for (at_us, _, level), end in zip(samples, ends, strict=True))


async def asked(world: World, key: ApiKey, name: str, data: dict[str, Any] | None) -> None:
    """Ask until the event is counted."""

    async def taken() -> bool:
        return (await ask(world, key, name, data)).status_code == 202

    await eventually(taken, f"{name} is counted and its correction taken")


async def until_answered(pool: Pool) -> None:
    async def none_waits() -> bool:
        return not await pool.fetchval("SELECT EXISTS (SELECT FROM usage_correction_waiting)")

    await eventually(none_waits, "all corrections are answered", within_s=40)


async def play(world: World, tenant: TenantId, key: ApiKey, chance: random.Random) -> Model:
    """Send, repeat, void and amend, forty times, without waiting for any answer."""
    model, sent = Model(), list[Json]()
    for number in range(40):
        what = chance.choice(["send", "send", "level", "again", "void", "amend"]) if sent else "send"
        if what == "send":
            amount = Decimal(chance.randrange(10**15)).scaleb(-chance.randrange(13))
            sent.append(world.event(tenant, f"e{number}", format(amount, "f")))
            model.amounts[f"e{number}"] = amount
            await world.send(tenant, sent[-1])
        elif what == "level":
            at = world.clock.now() - timedelta(seconds=chance.randrange(1, 80_000))
            level = chance.randrange(10**12)
            model.times_us[f"l{number}"] = microseconds(at)
            model.correct(f"l{number}", level)
            sent.append(world.level(tenant, f"l{number}", level, time=rfc3339(at)))
            await world.send(tenant, sent[-1])
        elif what == "again":
            await world.send(tenant, chance.choice(sent))
        else:
            name = chance.choice(sent)["id"]
            await _correct(world, key, name, chance.randrange(10**9) if what == "amend" else None)
            model.correct(name, await _last(world, key, name))
    return model


async def _correct(world: World, key: ApiKey, name: str, amount: int | None) -> None:
    attribute = "maestro.storage.bytes" if name.startswith("l") else "maestro.ingest.events"
    await asked(world, key, name, None if amount is None else {attribute: amount})


async def _last(world: World, key: ApiKey, name: str) -> int | None:
    [newest] = (await world.get("/v1/corrections", key, source="test", id=name, limit=1)).json()["items"]
    return None if newest["data"] is None else next(iter(newest["data"].values()))


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_sequence_of_usage_and_corrections_gives_the_totals_of_a_model(
    world: World, archiving: MeteringSettings, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a seed, so that a failure can be repeated
    tenant = await world.new_tenant()
    key = await corrector(world, tenant)
    model = await play(world, tenant, key, chance)
    await until_answered(world.pool)
    await world.until_total(tenant, model.total())
    now_us = microseconds(world.clock.now())
    await world.until_total(tenant, model.integral(now_us), "storage_gb")
    await until_archived(world.bus, world.pool)
    by = Recomputation(world.bus, world.pool, ArchiveFolder(archiving.archive_folder), default_meters(), world.clock)
    around = Span(now_us - now_us % 900_000_000 - 48 * HOUR_US, now_us - now_us % 900_000_000 + HOUR_US)
    found = await by.run(Asked(tenant, ("ingest_events", "storage_gb"), around))
    assert Verdict.DIFFERS not in {one.verdict for one in found.windows}


async def still(world: World, settings: MeteringSettings) -> Correcting:
    """What answers corrections, beside the service's own loop."""
    async with transaction(world.pool) as tx:
        fingerprints = Fingerprints(await ids.fingerprint_secret(tx))
    reading = Reading(world.bus, world.pool, world.clock)
    return Correcting(reading, world.pool, ArchiveFolder(settings.archive_folder), default_meters(), fingerprints)


async def counted(world: World, count: int) -> tuple[TenantId, ApiKey]:
    """A tenant with so many events of 5, each asked to be voided, all archived."""
    tenant = await world.new_tenant()
    key = await corrector(world, tenant)
    await world.send(tenant, *(world.event(tenant, str(number), 5) for number in range(count)))
    await world.until_total(tenant, 5 * count)
    await until_archived(world.bus, world.pool)
    for number in range(count):
        await asked(world, key, str(number), None)
    return tenant, key


async def test_two_workers_answer_each_correction_once(world: World, archiving: MeteringSettings) -> None:
    workers = [await still(world, archiving) for _ in range(2)]
    tenant, _ = await counted(world, 40)
    await asyncio.gather(*(worker.turn() for worker in workers))
    await until_answered(world.pool)
    assert await world.total(tenant) == 0
    assert await world.pool.fetchval("SELECT count(*) FROM usage_correction_outcome WHERE state = 'applied'") == 40


async def test_work_that_is_cancelled_before_its_commit_changed_nothing_and_is_done_again(
    world: World, archiving: MeteringSettings
) -> None:
    tenant, _ = await counted(world, 20)
    worker = await still(world, archiving)
    chance = random.Random(SEEDS[0])  # noqa: S311
    for _ in range(10):
        turn = asyncio.create_task(worker.turn())
        await asyncio.wait([turn], timeout=chance.random() / 50)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
    await until_answered(world.pool)
    assert await world.total(tenant) == 0
    assert await world.pool.fetchval("SELECT count(*) FROM usage_correction_outcome WHERE state = 'applied'") == 20


async def test_nobody_changes_what_was_asked_or_answered(world: World) -> None:
    await counted(world, 1)
    await until_answered(world.pool)
    for statement in (
        "UPDATE usage_correction SET reason = 'another'",
        "UPDATE usage_correction SET actor = 'another'",
        "DELETE FROM usage_correction",
        "UPDATE usage_correction_outcome SET before = '[]'",
        "DELETE FROM usage_correction_outcome",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await world.pool.execute(statement)


async def test_a_tenant_sees_and_writes_its_own_corrections_only(world: World) -> None:
    mine, _ = await counted(world, 1)
    theirs = await world.new_tenant()
    api: Pool = world.app.state.pools.api
    for table in ("usage_correction", "usage_correction_outcome", "usage_correction_waiting"):
        async with transaction(api, tenant=theirs) as tx:
            assert await tx.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - one of three
    async with transaction(api, tenant=mine) as tx:
        assert await tx.fetchval("SELECT count(*) FROM usage_correction") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with transaction(api, tenant=theirs) as tx:
            await tx.execute(
                "INSERT INTO usage_correction (correction_id, tenant_id, source, event_id, number, key, digest, "
                "time_us, action, actor, request_id, reason) "
                "VALUES (gen_random_uuid(), $1, 's', 'i', 1, gen_random_uuid(), 0, 0, 'void', 'a', 'r', 'w')",
                mine,
            )


async def test_of_two_that_ask_at_once_both_are_kept_in_order_or_one_is_told_to_ask_again(world: World) -> None:
    tenant = await world.new_tenant()
    key = await corrector(world, tenant)
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    answers = await asyncio.gather(*(ask(world, key, "1", {"maestro.ingest.events": n}) for n in range(6)))
    statuses = [one.status_code for one in answers]
    assert set(statuses) <= {202, 409}
    await until_answered(world.pool)
    numbers = await world.pool.fetch("SELECT number FROM usage_correction ORDER BY number")
    assert [row["number"] for row in numbers] == list(range(1, statuses.count(202) + 1))


async def test_a_correction_that_the_store_refuses_holds_up_no_other(world: World) -> None:
    tenant = await world.new_tenant()
    key = await corrector(world, tenant)
    names = [str(number) for number in range(9)]
    await world.send(tenant, *(world.event(tenant, name, 5) for name in names))
    await world.until_total(tenant, 45)
    await world.ask_close(world.close_of(tenant))
    await world.until_closed(tenant)
    async with transaction(world.pool) as tx:
        # Whoever answers waits for the fence: all nine are answered at once, and one of them finds its row taken.
        await hold_fence(tx)
        asked_for = [(await ask(world, key, name)).json()["correction_id"] for name in names]
        await tx.execute(
            "INSERT INTO usage_adjustment (tenant_id, metric, window_start, key, close_id, period, value, unit, "
            "reason) SELECT tenant_id, metric, window_start, $1::uuid, 'c', 'p', 0, '1', 'void' FROM usage_window",
            asked_for[4],
        )
    await until_answered(world.pool)
    found = [(await world.get(f"/v1/corrections/{one}", key)).json() for one in asked_for]
    assert [one["state"] for one in found] == ["applied"] * 4 + ["refused"] + ["applied"] * 4
    assert await world.pool.fetchval("SELECT sum(value) FROM usage_adjustment") == -40


async def test_a_damaged_file_holds_up_only_the_events_that_lie_in_it(
    world: World, archiving: MeteringSettings, clock: ManualClock
) -> None:
    tenant = await world.new_tenant()
    key = await corrector(world, tenant)
    yesterday = rfc3339(clock.now() - timedelta(days=1))
    await world.send(tenant, world.event(tenant, "new", 5), world.event(tenant, "old", 7, time=yesterday))
    await world.until_total(tenant, 12)
    await until_archived(world.bus, world.pool)
    [file] = (archiving.archive_folder / "usage").glob("day=2026-11-23/*/*.parquet")
    whole = file.read_bytes()
    file.write_bytes(b"nothing of the kind")
    await asked(world, key, "old", None)
    await asked(world, key, "new", None)
    await world.until_total(tenant, 7)
    [old] = (await world.get("/v1/corrections", key, source="test", id="old")).json()["items"]
    assert (old["state"], old["waits_for"]) == ("requested", "the archive, which cannot be read")
    file.write_bytes(whole)
    await world.pool.execute("UPDATE usage_correction_waiting SET looked_at_next = now()")
    await world.until_total(tenant, 0)


async def test_an_archived_event_that_was_changed_corrects_nothing(world: World, archiving: MeteringSettings) -> None:
    tenant = await world.new_tenant()
    key = await corrector(world, tenant)
    await world.send(tenant, world.event(tenant, "1", 5))
    await world.until_total(tenant, 5)
    await until_archived(world.bus, world.pool)
    [file] = (archiving.archive_folder / "usage").glob("*/*/*.parquet")
    rows = pq.read_table(file, partitioning=None)
    forged = pa.array(['{"maestro.ingest.events":9}'], pa.string())
    pq.write_table(rows.set_column(rows.schema.get_field_index("attributes"), "attributes", forged), file)
    await asked(world, key, "1", None)

    async def says_so() -> bool:
        [one] = (await world.get("/v1/corrections", key)).json()["items"]
        return bool(one["waits_for"] == "the archive, whose row is not what was counted")

    await eventually(says_so, "the correction says what is wrong")
    assert await world.total(tenant) == 5
