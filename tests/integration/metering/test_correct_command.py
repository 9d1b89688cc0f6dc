"""`maestro usage void` and `amend` as a person and a script use them, beside a service that answers."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from libs.bus.memory import MemoryBus
from libs.runtime.clock import ManualClock
from libs.schemas.values import TenantId
from services.metering.cli import main
from services.metering.settings import MeteringSettings
from tests.support.archive import until_archived
from tests.support.metering_world import World, metering_world

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def told(settings: MeteringSettings, tmp_path: Path) -> MeteringSettings:
    key = tmp_path / "actor.key"
    key.write_text("k" * 32)
    archive = {"archive": True, "archive_dir": tmp_path / "archive", "archive_max_age_s": 0.05}
    return settings.model_copy(update={"actor_key_file": key, **archive})


@pytest.fixture
async def world(told: MeteringSettings, broker: MemoryBus, clock: ManualClock) -> AsyncIterator[World]:
    async with metering_world(told, broker, clock) as served:
        yield served


@pytest.fixture
async def tenant(world: World) -> TenantId:
    """A tenant with an event of 5, source `shop`, id `7`."""
    found = await world.new_tenant()
    await world.send(found, world.event(found, "7", 5, source="shop"))
    await world.until_total(found, 5)
    await until_archived(world.bus, world.pool)
    return found


@pytest.fixture
def maestro(told: MeteringSettings, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `maestro usage`: its exit status, what it printed, what it complained of."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, arguments, lambda _: told)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


async def test_a_person_voids_an_event_and_sees_what_it_counted(world: World, tenant: TenantId, maestro: Run) -> None:
    code, shown, complaint = await maestro("void", "shop", "7", "--tenant", tenant, "--reason", "sent twice")
    assert (code, complaint) == (0, "")
    lines = shown.splitlines()
    assert lines[0].startswith("request ")
    assert lines[1].endswith("number 1 of the event, void: applied")
    assert lines[2:] == ["before: ingest_events 5", "after:  nothing"]
    assert await world.total(tenant) == 0


async def test_a_script_amends_an_event_with_what_comes_by_the_pipe(
    world: World, tenant: TenantId, maestro: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.TextIOWrapper(io.BytesIO(b'{"maestro.ingest.events": 9007199254740993.5}'))
    monkeypatch.setattr("sys.stdin", said)
    words = ("amend", "shop", "7", "--tenant", tenant, "--data", "-", "--reason", "a decimal was lost", "--json")
    code, shown, _ = await maestro(*words)
    found = json.loads(shown)
    assert (code, found["state"]) == (0, "applied")
    assert found["after"] == [{"metric": "ingest_events", "amount": "9007199254740993.5", "resource": None}]
    await world.until_total(tenant, "9007199254740993.5")


async def test_what_is_refused_says_why_and_exits_with_1(tenant: TenantId, maestro: Run) -> None:
    await maestro("void", "shop", "7", "--tenant", tenant, "--reason", "sent twice")
    code, shown, _ = await maestro("void", "shop", "7", "--tenant", tenant, "--reason", "sent twice")
    assert code == 1
    assert shown.splitlines()[-1] == "refused: the event is void already"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("void", "shop", "7", "--reason", "r", "--tenant", "acme"), "is no tenant"),
        (("void", "shop", "7", "--tenant", "tnt_aaaaaaaaaaaaaaaaaaaa"), "say why by --reason"),
        (("void", "shop", "8", "--reason", "r", "--tenant", "tnt_aaaaaaaaaaaaaaaaaaaa"), "no such event"),
        (
            ("amend", "shop", "7", "--reason", "r", "--data", "no", "--tenant", "tnt_aaaaaaaaaaaaaaaaaaaa"),
            "no cannot be",
        ),
    ],
)
@pytest.mark.usefixtures("world")
async def test_what_cannot_be_asked_for_is_complained_of(words: tuple[str, ...], complaint: str, maestro: Run) -> None:
    code, _, complained = await maestro(*words)
    assert code == 2
    assert complaint in complained
