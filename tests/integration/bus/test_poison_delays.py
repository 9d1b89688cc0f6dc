"""How long poison holds up what stands behind it, on the real broker: one record, and many among good ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from statistics import median

import pytest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.outbox import say
from libs.schemas.topics import registry
from libs.store.pool import Pool, transaction
from tests.support.bus import effects, tenant_changed
from tests.support.conditions import eventually
from tests.support.consuming import TENANTS, Tenants, at_work, relay_of

DELAY_S = 1.0  # what one poison record may hold up a good one
ROUNDS = 7
GOOD = 150
LAST_WITHIN_S = 20.0  # a second on an idle machine


@pytest.fixture
async def bus(kafka: KafkaAccess) -> AsyncIterator[KafkaBus]:
    opened = KafkaBus(kafka, client_id="poison")
    await opened.start()
    await opened.ensure_topics(list(registry().values()))
    yield opened
    await opened.stop()


async def handled_after_s(pool: Pool, count: int, within_s: float) -> float:
    """Wait until there are so many effects; how long that took."""

    async def reached() -> bool:
        return len(await effects(pool)) >= count

    return await eventually(reached, f"{count} effects", within_s=within_s)


async def test_a_poison_record_delays_the_good_one_behind_it_by_less_than_a_second(bus: KafkaBus, pool: Pool) -> None:
    tenants = Tenants(refuse=("bad",))
    alone_s: list[float] = []
    behind_s: list[float] = []
    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        for round_ in range(ROUNDS):
            await say_at_once(pool, tenants, f"alone {round_}")
            alone_s.append(await handled_after_s(pool, 2 * round_ + 1, within_s=30))
            await say_at_once(pool, tenants, "bad", f"behind {round_}")
            behind_s.append(await handled_after_s(pool, 2 * round_ + 2, within_s=30))

    assert median(behind_s) - median(alone_s) < DELAY_S


async def test_hundreds_of_poison_records_among_good_ones_cost_no_transaction_each(bus: KafkaBus, pool: Pool) -> None:
    tenants = Tenants(refuse=("bad",), nul=("nul",))
    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await say_at_once(pool, tenants, "first")
        await handled_after_s(pool, 1, within_s=40)

        await say_at_once(pool, tenants, *interleaved())
        await handled_after_s(pool, 1 + GOOD, within_s=LAST_WITHIN_S)

    # By transactions, which no load of the machine changes: poison is set aside with the batch, not one by one.
    counts = "SELECT (count(*), count(DISTINCT dead_at)) FROM dead_letter WHERE reason <> 'bad_event'"
    letters, transactions = await pool.fetchval(counts)  # without what other tests left on the topic
    assert letters == GOOD
    assert transactions <= letters / 10


def interleaved() -> list[str]:
    return [name for number in range(GOOD) for name in (f"good {number}", ("bad", "nul")[number % 2])]


async def say_at_once(pool: Pool, tenants: Tenants, *names: str) -> None:
    """Say them in one transaction: they are published together."""
    async with transaction(pool) as tx:
        for name in names:
            await say(tx, TENANTS, tenant_changed(name), key=tenants.key)
