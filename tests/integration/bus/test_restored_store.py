"""A store that was restored from a backup while the broker went on: noticed, refused, and let go on by an operator."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.bus.cli import main
from libs.bus.kafka import KafkaAccess, access_of
from libs.bus.marks import StoreWentBack, relay_group
from libs.bus.operator import raise_epoch
from libs.bus.ports import Bus
from libs.bus.records import TopicPartition
from libs.bus.subscription import group_of
from libs.runtime.acts import Act
from libs.runtime.settings import ServiceSettings
from libs.schemas.events import ChangeRecorded
from libs.schemas.topics import registry
from libs.store.pool import Pool
from tests.support.bus import bus_store, effects, kafka_broker, recorded, say_names
from tests.support.conditions import eventually
from tests.support.consuming import Tenants, at_work, dies, effects_are, outbox_is_empty, relay_of
from tests.support.kafka import kafka_settings
from tests.support.stack import in_own_loop
from tests.support.stores import as_owner

RESTORED = Act("a test", "req-1", "restored from a backup")
TABLES = ("consumer_offset", "consumer_sequence", "outbox_sequence", "effect")


async def back_up(dsn: str) -> None:
    """Keep what the tables hold now."""
    for table in TABLES:
        await as_owner(dsn, f"CREATE TABLE saved_{table} AS TABLE {table}")


async def restore(dsn: str) -> None:
    """Put back what was kept: all that happened since is gone from the store, and only from there."""
    for table in TABLES:
        await as_owner(dsn, f"TRUNCATE {table}; INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE saved_{table}")


@dataclass
class Life:
    """A service that says things and hears itself."""

    bus: Bus
    pool: Pool
    tenants: Tenants

    async def live(self, *names: str, made: tuple[str, ...]) -> None:
        """Say the names, and wait until exactly `made` has been made of all and the broker was told how far we are."""
        async with at_work(relay_of(self.pool, self.bus).run(), self.tenants.consumer(self.bus, self.pool).run()):
            await say_names(self.pool, *names, key=self.tenants.key)
            await effects_are(self.pool, *made)
            await outbox_is_empty(self.pool)
            await eventually(self._told, "the broker is told how far the store is")

    async def _told(self) -> bool:
        reached = await self.pool.fetchval(
            "SELECT sum(next) FROM consumer_offset WHERE consumer = $1 AND next > 0", self.tenants.name
        )
        given = await self.pool.fetchval("SELECT sum(seq) FROM outbox_sequence")
        consumer = await self.bus.marks(group_of(self.tenants.name))
        relay = await self.bus.marks(relay_group("identity"))
        mine = {TopicPartition(*row) for row in await self.pool.fetch("SELECT topic, partition FROM outbox_sequence")}
        told = sum(mark.at for source, mark in relay.items() if source in mine)
        return (sum(mark.at for mark in consumer.values()), told) == (reached, given)


@pytest.fixture
async def restored(bus: Bus, pool: Pool, dsn: str) -> Life:
    """Two effects are in the backup, two more were made after it, and then the backup was restored."""
    life = Life(bus, pool, Tenants())
    await life.live("one", "two", made=("one", "two"))
    await back_up(dsn)
    await life.live("three", "four", made=("one", "two", "three", "four"))
    await restore(dsn)
    return life


async def test_a_consumer_of_a_restored_store_stops_and_names_the_verb(restored: Life) -> None:
    async with at_work(restored.tenants.consumer(restored.bus, restored.pool).run()) as (running,):
        text = await dies(running, StoreWentBack)

    assert '`maestro bus raise-epoch --service quota --reason "..."`' in text
    assert await effects(restored.pool) == ["one", "two"]


async def test_a_relay_of_a_restored_store_stops_before_it_says_anything(restored: Life) -> None:
    await say_names(restored.pool, "five", key=restored.tenants.key)

    async with at_work(relay_of(restored.pool, restored.bus).run()) as (running,):
        text = await dies(running, StoreWentBack)

    assert '`maestro bus raise-epoch --service identity --reason "..."`' in text
    assert await restored.pool.fetchval("SELECT count(*) FROM outbox WHERE seq IS NULL") == 1


async def test_with_its_epoch_raised_it_does_again_what_was_lost_and_what_it_says_is_heard(restored: Life) -> None:
    await raise_epoch(restored.pool, restored.bus, service="identity", act=RESTORED)

    await restored.live("five", made=("one", "two", "three", "four", "five"))


async def test_a_store_that_was_restored_to_before_its_epoch_was_raised_gets_a_greater_one(
    restored: Life, dsn: str
) -> None:
    first = await raise_epoch(restored.pool, restored.bus, service="identity", act=RESTORED)
    await restored.live("five", made=("one", "two", "three", "four", "five"))
    await restored.pool.execute("UPDATE store_epoch SET epoch = 1")
    await restore(dsn)

    second = await raise_epoch(restored.pool, restored.bus, service="identity", act=RESTORED)

    assert (first, second) == ((1, 2), (1, 3))


def test_the_operators_verb_says_which_epoch_it_is_now(
    fresh_database: Callable[..., str], kafka: KafkaAccess, actor_key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServiceSettings(postgres_url=fresh_database("verb"), actor_key_file=actor_key, **kafka_settings(kafka))
    in_own_loop(_prepare(settings))

    done = main(["raise-epoch", "--service", "quota", "--reason", "restored"], lambda _: settings)

    assert (done, capsys.readouterr().out) == (0, "store of quota: epoch 1 -> 2\n")
    [entry] = in_own_loop(_recorded(settings))
    assert (entry.action, entry.subject, entry.reason) == ("store_epoch.raised", "store/quota", "restored")
    assert (entry.details["before"], entry.details["after"]) == ("1", "2")
    assert re.fullmatch("os_[a-z2-7]{24}", entry.actor)
    with pytest.raises(SystemExit):
        main(["raise-epoch", "--service", "quota"], lambda _: settings)


async def _recorded(settings: ServiceSettings) -> list[ChangeRecorded]:
    async with bus_store(settings.postgres_url) as pool:
        return await recorded(pool, "quota")


async def _prepare(settings: ServiceSettings) -> None:
    async with kafka_broker(access_of(settings)) as broker, bus_store(settings.postgres_url):
        await broker.bus.ensure_topics(list(registry().values()))
