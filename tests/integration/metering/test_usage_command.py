"""`maestro usage recompute` as a person and a script use it, on a real store, broker and archive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.schemas.values import TenantId
from services.metering.cli import main
from services.metering.settings import MeteringSettings
from tests.support.archive import until_archived
from tests.support.kafka import KafkaOf, kafka_settings
from tests.support.metering_world import World, metering_world

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
async def world(
    settings: MeteringSettings, kafka: KafkaAccess, kafka_of: KafkaOf, folder: Path
) -> AsyncIterator[World]:
    connection = KafkaBus(kafka, client_id="test")
    await connection.start()
    archiving = settings.model_copy(update={"archive": True, "archive_dir": folder, "archive_max_age_s": 0.2})
    async with metering_world(archiving, KafkaBus(kafka_of("metering"), client_id="metering.0")) as served:
        served.bus = connection
        yield served
    await connection.stop()


@pytest.fixture
def maestro(settings: MeteringSettings, kafka: KafkaAccess, folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `maestro usage recompute`: its exit status, what it printed, what it complained of."""
    told = settings.model_copy(update=kafka_settings(kafka))

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, ["recompute", "--archive", str(folder), *arguments], lambda _: told)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


async def archived(world: World, *amounts: object) -> TenantId:
    """A tenant with these amounts, and a copy of the first."""
    tenant = await world.new_tenant()
    events = [world.event(tenant, str(number), amount) for number, amount in enumerate(amounts)]
    await world.send(tenant, *events)
    await world.send(tenant, events[0])
    await world.until_all_is_counted()
    await until_archived(world.bus, world.pool)
    return tenant


async def test_a_person_sees_a_table_and_that_all_agrees(world: World, maestro: Run) -> None:
    tenant = await archived(world, "0.1", "0.2")
    code, shown, complaint = await maestro("--tenant", tenant)
    lines = shown.splitlines()
    assert (code, complaint) == (0, "")
    assert lines[0].startswith(f"tenant {tenant}, from ")
    assert [line.split()[2:] for line in lines if line.startswith("  ingest_events")] == [["0.3", "0.3", "agrees"]]
    assert "ingest_events: 0.3 from the archive, 0.3 live, of what both cover" in lines
    assert lines[-1] == "the totals agree in all 1 windows that both cover"


async def test_a_script_gets_every_window_and_how_far_the_archive_is(world: World, maestro: Run) -> None:
    tenant = await archived(world, 5)
    code, shown, _ = await maestro("--tenant", tenant, "--metric", "ingest_events", "--json")
    found: dict[str, Any] = json.loads(shown)
    assert (code, found["agrees"], found["totals"]) == (0, True, {"ingest_events": {"archive": "5", "live": "5"}})
    assert [(one["archive"], one["live"], one["verdict"]) for one in found["windows"]] == [("5", "5", "agrees")]
    assert (found["events"], found["copies"], found["conflicts"]) == (1, 1, 0)
    assert {one["archived_to"] - one["counted_to"] for one in found["partitions"]} == {0}
    assert found["archived_to"] is not None


async def test_a_difference_is_said_plainly_and_by_the_exit_status(world: World, maestro: Run) -> None:
    tenant = await archived(world, 5)
    await world.pool.execute("UPDATE usage_window SET value = 6 WHERE tenant_id = $1", tenant)
    code, shown, _ = await maestro("--tenant", tenant)
    assert code == 1
    assert [line.split()[2:] for line in shown.splitlines() if line.startswith("  ingest_events")] == [
        ["5", "6", "DIFFERS"]
    ]
    assert "THE TOTALS DIFFER in 1 windows; 0 agree" in shown


async def test_who_has_no_usage_is_told_so(world: World, maestro: Run) -> None:
    tenant = await world.new_tenant()
    code, shown, _ = await maestro("--tenant", tenant)
    assert (code, shown.splitlines()[-1]) == (0, "there is no usage, in the archive or live")


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--tenant", "acme"), "is no tenant"),
        (("--tenant", "tnt_" + "a" * 20, "--metric", "nonsense"), "there are gql_calls, ingest_events, storage_gb"),
        (("--tenant", "tnt_" + "a" * 20, "--from", "2026-12-01", "--to", "2026-11-01"), "begins before its end"),
    ],
)
async def test_a_question_without_an_answer_is_refused_with_what_to_change(
    maestro: Run, arguments: tuple[str, ...], complaint: str
) -> None:
    code, shown, said = await maestro(*arguments)
    assert (code, shown) == (2, "")
    assert said.startswith("maestro usage: ")
    assert complaint in said


async def test_the_help_teaches(maestro: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        await maestro("--help")
    shown = capsys.readouterr().out
    assert "maestro usage recompute --tenant tnt_" in shown
    assert "Exits with 0 if all that both cover agrees, with 1 if a window differs" in shown
