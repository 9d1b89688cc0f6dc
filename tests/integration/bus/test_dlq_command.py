"""`maestro dlq` as a person and a script use it, on a real store and broker."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.bus.deadletters.cli import main
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.runtime.settings import ServiceSettings
from libs.schemas.topics import registry
from libs.store.pool import Pool
from tests.support.bus import bus_store, recorded, say_names
from tests.support.consuming import Tenants, at_work, effects_are, outbox_is_empty, relay_of
from tests.support.kafka import kafka_settings

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@dataclass
class Setting:
    """One letter of quota, and where its store and broker are."""

    settings: ServiceSettings
    pool: Pool
    bus: KafkaBus
    tenants: Tenants
    letter: str


@pytest.fixture
async def setting(fresh_database: Callable[..., str], kafka: KafkaAccess, actor_key: Path) -> AsyncIterator[Setting]:
    dsn = fresh_database("dlq")
    tenants = Tenants(refuse=("bad \u202e",))
    bus = KafkaBus(kafka, client_id="dlq")
    await bus.start()
    await bus.ensure_topics(list(registry().values()))
    async with bus_store(dsn) as pool:
        await say_names(pool, "good", *tenants.refuse, key=tenants.key)
        async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
            await effects_are(pool, "good")
        await relay_of(pool, bus).drain()
        await outbox_is_empty(pool)
        ids = await pool.fetch("SELECT id FROM dead_letter WHERE consumer = $1 AND reason = 'rejected'", tenants.name)
        settings = ServiceSettings(postgres_url=dsn, actor_key_file=actor_key, **kafka_settings(kafka))
        yield Setting(settings, pool, bus, tenants, f"quota/{ids[0]['id']}")
    await bus.stop()


@pytest.fixture
def maestro(setting: Setting, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `maestro dlq`: its exit status, what it printed, what it complained of."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, arguments, lambda _: setting.settings)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


async def test_a_letter_is_listed_shown_replayed_once_and_says_what_was_done(
    setting: Setting, maestro: Run, tmp_path: Path
) -> None:
    mine = ("--consumer", setting.tenants.name)
    listed = json.loads((await maestro("list", *mine, "--json"))[1])
    assert [(one["letter"], one["reason"], one["state"]) for one in listed] == [(setting.letter, "rejected", "waiting")]

    shown = json.loads((await maestro("show", setting.letter, "--json", "--value-to", str(tmp_path / "value")))[1])
    assert b64decode(shown["payload"]["value"]) == (tmp_path / "value").read_bytes()
    assert dict(shown["payload"]["headers"]).keys() >= {"ce_id", "ce_maestroseq"}

    assert (await maestro("replay", setting.letter, "--dry-run"))[1].endswith("would be replayed\n")
    code, said, told = await maestro("replay", setting.letter, "--reason", "mended")
    assert (code, said) == (0, f"{setting.letter:<16} replayed\n")
    request = re.fullmatch(r"maestro dlq: request ([0-9a-f]{32}) by (os_[a-z2-7]{24})\n", told)
    assert request is not None
    [entry] = await recorded(setting.pool, "quota")
    assert (entry.action, entry.subject) == ("dead_letter.replay_begun", f"dead_letter/{setting.letter[6:]}")
    assert (entry.request_id, entry.actor, entry.reason) == (*request.groups(), "mended")
    code, said, _ = await maestro("replay", setting.letter, "--reason", "again")
    assert (code, "was replayed before" in said) == (4, True)

    done = json.loads((await maestro("show", setting.letter, "--json"))[1])
    assert [(one["step"], one["by"], one["reason"]) for one in done["steps"]] == [("replay", request[2], "mended")]
    assert (await maestro("list", *mine))[1] == ""


async def test_what_a_sender_wrote_moves_no_cursor(setting: Setting, maestro: Run) -> None:
    for shown in ((await maestro("show", setting.letter))[1], (await maestro("list"))[1]):
        assert "\u202e" not in shown
        assert "bad \\u202e is refused" in shown


async def test_a_decision_needs_a_reason_and_keeps_it(setting: Setting, maestro: Run) -> None:
    with pytest.raises(SystemExit):
        await maestro("drop", setting.letter)
    assert (await maestro("replay", setting.letter))[0] == 1
    assert (await maestro("drop", setting.letter, "--reason", " "))[0] == 1
    assert (await maestro("drop", setting.letter, "--reason", "a\u202eb"))[0] == 1
    assert await recorded(setting.pool, "quota") == []
    assert (await maestro("drop", setting.letter, "--reason", "a test of the sender's"))[0] == 0

    assert "a test of the sender's" in (await maestro("show", setting.letter))[1]
    [entry] = await recorded(setting.pool, "quota")
    assert (entry.action, entry.reason) == ("dead_letter.dropped", "a test of the sender's")
    assert entry.details["consumer"] == setting.tenants.name
    assert (await maestro("replay", setting.letter, "--reason", "again"))[0] == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("replay", "--reason", "mended"), "say which by"),
        (("show", "quota/999999"), "has no letter 999999"),
        (("show", "nobody/1"), "<service>/<number>"),
    ],
)
async def test_what_is_not_named_well_is_told_and_nothing_is_done(
    arguments: tuple[str, ...], complaint: str, maestro: Run, setting: Setting
) -> None:
    code, _, complained = await maestro(*arguments)

    assert (code, complaint in complained) == (1, True)
    assert await setting.pool.fetchval("SELECT count(*) FROM dead_letter_step") == 0


async def test_a_service_that_cannot_be_asked_is_named_and_the_others_are_listed(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    def settings_of(service: str) -> ServiceSettings:
        gone = setting.settings.model_copy(update={"postgres_url": "postgresql://nobody@127.0.0.1:1/none"})
        return setting.settings if service == "quota" else gone

    code = await asyncio.to_thread(main, ["list"], settings_of)
    shown = capsys.readouterr()

    assert code == 1
    assert "metering cannot be asked" in shown.err
    assert setting.letter in shown.out
