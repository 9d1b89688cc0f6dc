from __future__ import annotations

import pytest

from libs.bus.ports import Bus
from libs.bus.records import Headers, Message, Record
from libs.bus.subscription import Poison, PoisonRecords
from libs.store.pool import Pool, Tx
from tests.support.bus import say_names
from tests.support.consuming import TENANTS, Tenants, Values, at_work, dead_letters, effects_are, relay_of

SHARDS = "usage-shards"


async def test_a_refused_event_is_set_aside_and_its_neighbours_have_their_effects(bus: Bus, pool: Pool) -> None:
    tenants = Tenants(refuse=("bad",))
    await say_names(pool, "one", "bad", "two", key=tenants.key)

    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await effects_are(pool, "one", "two")
        (letter,) = await dead_letters(bus, TENANTS, tenants.name, 1)

    assert (letter["maestro_reason"], letter["maestro_cause"]) == (b"rejected", b"bad is refused")
    assert b'"name":"bad"' in letter["value"]
    assert letter["maestro_topic"] == TENANTS.encode()
    assert int(letter["maestro_offset"]) >= 0


async def test_values_that_the_store_refuses_are_set_aside_alone(bus: Bus, pool: Pool) -> None:
    tenants = Tenants(nul=("nul",))
    await say_names(pool, "one", "nul", "two", key=tenants.key)

    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await effects_are(pool, "one", "two")
        (letter,) = await dead_letters(bus, TENANTS, tenants.name, 1)

    assert letter["maestro_reason"] == b"sqlstate_22021"


@pytest.mark.parametrize(
    ("headers", "value", "cause"),
    [
        pytest.param((), b"{}", b"specversion", id="no CloudEvent"),
        pytest.param((("ce_specversion", b"\xff"),), b"{}", b"header", id="header that is no text"),
        pytest.param((("ce_specversion", None),), b"{}", b"specversion", id="header without a value"),
        pytest.param(
            (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"x"), ("ce_type", b"maestro.tenant.gone.v1")),
            b"{}",
            b"not a type of topic",
            id="type outside the registry",
        ),
        pytest.param(
            (
                ("ce_specversion", b"1.0"),
                ("ce_id", b"1"),
                ("ce_source", b"x"),
                ("ce_type", b"maestro.tenant.changed.v1"),
            ),
            b"not json",
            b"not JSON",
            id="data that is no JSON",
        ),
        pytest.param(
            (
                ("ce_specversion", b"1.0"),
                ("ce_id", b"1"),
                ("ce_source", b"x"),
                ("ce_type", b"maestro.tenant.changed.v1"),
            ),
            None,
            b"not JSON",
            id="no data",
        ),
    ],
)
async def test_what_cannot_be_understood_is_set_aside_as_it_came(
    headers: Headers, value: bytes | None, cause: bytes, bus: Bus, pool: Pool
) -> None:
    tenants = Tenants()
    await bus.publisher.publish([Message(TENANTS, tenants.key.encode(), value, headers)])
    await say_names(pool, "after", key=tenants.key)

    async with at_work(relay_of(pool, bus).run(), tenants.consumer(bus, pool).run()):
        await effects_are(pool, "after")
        letters = await dead_letters(bus, TENANTS, tenants.name, 1)

    # On the real broker the letters of other parameters' records may come first: they lie on the same topic.
    assert any(cause in letter["maestro_cause"] and letter["value"] == (value or b"") for letter in letters)


async def test_a_batch_is_bisected_down_to_the_record_that_the_store_refuses(bus: Bus, pool: Pool) -> None:
    values = Values()
    texts = [b"v%03d" % number for number in range(100)]
    texts[41] = b"nul\x00"
    await bus.publisher.publish([Message(SHARDS, values.key, text, partition=0) for text in texts])

    async with at_work(relay_of(pool, bus).run(), values.consumer(bus, pool, SHARDS).run()):
        await effects_are(pool, *[text.decode() for text in texts if text != b"nul\x00"])
        (letter,) = await dead_letters(bus, SHARDS, f"quota.{values.purpose}", 1)

    assert letter["value"] == b"nul\x00"
    assert values.discarded > 1


async def test_a_handler_may_name_the_poisoned_record_itself(bus: Bus, pool: Pool) -> None:
    values = Naming()
    texts = [b"a", b"poison", b"b", b"poison", b"c"]
    await bus.publisher.publish([Message(SHARDS, values.key, text, partition=1) for text in texts])

    async with at_work(relay_of(pool, bus).run(), values.consumer(bus, pool, SHARDS).run()):
        await effects_are(pool, "a", "b", "c")
        letters = await dead_letters(bus, SHARDS, f"quota.{values.purpose}", 2)

    assert [letter["maestro_reason"] for letter in letters] == [b"named", b"named"]


class Naming(Values):
    """Looks through the batch before it writes."""

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        named = next((one for one in records if one.key == self.key and one.value == b"poison"), None)
        if named is not None:
            raise PoisonRecords(Poison(named, "named", "it says so"))
        await super().handle(tx, records)
