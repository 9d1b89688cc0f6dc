from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.runtime.background import background
from libs.runtime.errors import Broken
from libs.store.epoch import raise_store_epoch, store_epoch
from libs.store.idempotency import (
    BadIdempotencyKey,
    IdempotencyKeyReused,
    StoredAnswer,
    idempotent,
    remember,
    swept,
)
from libs.store.opening import Pools
from libs.store.pool import Pool, transaction
from tests.support.conditions import eventually
from tests.support.stores import as_owner, owner_of, pools_on

BODY, OTHER_BODY = "a" * 64, "b" * 64


@pytest.fixture
async def pools(dsn: str) -> AsyncIterator[Pools]:
    """A store with a table of effects."""
    async with pools_on(dsn) as opened:
        await as_owner(dsn, 'CREATE TABLE effect (n int); GRANT ALL ON effect TO :"api"')
        yield opened


@pytest.fixture
def store(pools: Pools) -> Pool:
    """What a route has."""
    return pools.api


async def request(
    store: Pool, key: str = "k", body: str = BODY, *, principal: str = "p", route: str = "POST /v1/things"
) -> StoredAnswer:
    """What a handler does: claim, act, remember."""
    async with transaction(store) as tx:
        known = await idempotent(tx, principal=principal, route=route, key=key, body_sha256=body)
        if known is not None:
            return known
        await tx.execute("INSERT INTO effect VALUES (1)")
        made = await tx.fetchval("SELECT count(*) FROM effect")
        await remember(tx, StoredAnswer(201, b"made %d" % made), principal=principal, route=route, key=key)
        return StoredAnswer(201, b"made %d" % made)


async def effects(store: Pool) -> int:
    return int(await store.fetchval("SELECT count(*) FROM effect"))


async def test_a_repeated_request_gets_the_first_answer_and_has_no_effect(store: Pool) -> None:
    first, second = await request(store), await request(store)

    assert first == second == StoredAnswer(201, b"made 1")
    assert await effects(store) == 1


async def test_requests_at_once_with_one_key_have_one_effect(store: Pool) -> None:
    answers = await asyncio.gather(*(request(store) for _ in range(6)))

    assert set(answers) == {StoredAnswer(201, b"made 1")}
    assert await effects(store) == 1


async def test_a_key_used_with_another_body_is_refused(store: Pool) -> None:
    await request(store)

    with pytest.raises(IdempotencyKeyReused) as raised:
        await request(store, body=OTHER_BODY)

    assert (raised.value.status, raised.value.code) == (422, "idempotency_key_reused")


async def test_a_key_counts_for_one_principal_and_one_route(store: Pool) -> None:
    await request(store)
    await request(store, principal="another")
    await request(store, route="POST /v1/others")

    assert await effects(store) == 3


async def test_a_request_that_fails_leaves_its_key_free(store: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        await _claim_and_fail(store)

    assert await request(store) == StoredAnswer(201, b"made 1")


async def _claim_and_fail(store: Pool) -> None:
    async with transaction(store) as tx:
        await idempotent(tx, principal="p", route="POST /v1/things", key="k", body_sha256=BODY)
        raise ZeroDivisionError


@pytest.mark.parametrize("key", ["", "x" * 256, "ümlaut", "line\nbreak", "nul\x00"])
async def test_a_key_that_cannot_be_one_is_refused(key: str, store: Pool) -> None:
    with pytest.raises(BadIdempotencyKey):
        await request(store, key)


async def test_a_key_of_255_characters_is_one(store: Pool) -> None:
    assert (await request(store, "x" * 255)).status == 201


@pytest.mark.parametrize(("age", "effect_count"), [("24 hours", 1), ("26 hours", 2)])
async def test_a_key_is_kept_a_day_and_then_forgotten(age: str, effect_count: int, pools: Pools) -> None:
    await request(pools.api)
    await pools.worker.execute("UPDATE idempotency_key SET created_at = now() - $1::text::interval", age)

    async with background("sweeper", swept(pools.worker)):
        await eventually(lambda: _is_swept(pools.worker), "what is old is removed")
    await request(pools.api)

    assert await effects(pools.api) == effect_count


async def _is_swept(worker: Pool) -> bool:
    old = "SELECT EXISTS (SELECT FROM idempotency_key WHERE created_at < now() - interval '25 hours')"
    return not await worker.fetchval(old)


async def test_the_api_role_sees_the_answers_of_one_principal_and_of_none_without(store: Pool) -> None:
    await request(store, principal="p")
    await request(store, principal="another")

    async with transaction(store) as tx:
        before = await tx.fetch("SELECT principal FROM idempotency_key")
        await idempotent(tx, principal="p", route="GET /v1/things", key="k", body_sha256=BODY)
        after = await tx.fetch("SELECT DISTINCT principal FROM idempotency_key")

    assert (before, [row["principal"] for row in after]) == ([], ["p"])


async def test_an_answer_without_a_claim_is_our_mistake(store: Pool) -> None:
    with pytest.raises(Broken, match="without idempotent"):
        await _remember_only(store)


async def _remember_only(store: Pool) -> None:
    async with transaction(store) as tx:
        await remember(tx, StoredAnswer(201, b""), principal="p", route="r", key="k")


async def test_a_store_starts_in_its_first_epoch_and_a_restore_raises_it(pools: Pools, dsn: str) -> None:
    async with transaction(pools.worker) as tx, owner_of(dsn) as owner:
        before, after = await store_epoch(tx), await raise_store_epoch(owner, "restored")

    assert (before, after) == (1, 2)
