"""A request that creates something is done once, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from libs.runtime.errors import Conflict
from libs.store.idempotency import IdempotencyKeyReused
from libs.store.once import Answer, Claim, once
from libs.store.pool import Pool, Tx, transaction
from tests.support.stores import as_owner, pools_on

CLAIM = Claim("a-key", "POST /v1/things", "k1", "0" * 64)


@pytest.fixture
async def pool(fresh_database: Callable[..., str]) -> AsyncIterator[Pool]:
    dsn = fresh_database("once")
    async with pools_on(dsn) as pools:
        await as_owner(dsn, 'CREATE TABLE thing (made integer); GRANT ALL ON thing TO :"api"')
        yield pools.api


async def make(tx: Tx) -> Answer:
    await tx.execute("INSERT INTO thing VALUES (1)")
    return Answer(201, b"with its secret", kept=b"without")


async def made(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM thing"))


async def test_a_repeat_has_no_effect_and_gets_the_answer_that_was_kept(pool: Pool) -> None:
    first = await once(transaction(pool), CLAIM, make)
    again = await once(transaction(pool), CLAIM, make)

    assert (first.body, first.is_repeat) == (b"with its secret", False)
    assert (again.status, again.body, again.is_repeat) == (201, b"without", True)
    assert await made(pool) == 1


async def test_of_repeats_at_once_one_has_the_effect(pool: Pool) -> None:
    answers = await asyncio.gather(*(once(transaction(pool), CLAIM, make) for _ in range(5)))

    assert sorted(answer.is_repeat for answer in answers) == [False, True, True, True, True]
    assert await made(pool) == 1


async def test_without_a_claim_every_request_has_its_effect(pool: Pool) -> None:
    await once(transaction(pool), None, make)
    await once(transaction(pool), None, make)

    assert await made(pool) == 2


@pytest.mark.parametrize("other", [{"principal": "b-key"}, {"route": "POST /v1/others"}, {"key": "k2"}], ids=str)
async def test_another_caller_path_or_key_is_another_request(pool: Pool, other: dict[str, str]) -> None:
    await once(transaction(pool), CLAIM, make)
    await once(transaction(pool), replace(CLAIM, **other), make)

    assert await made(pool) == 2


async def test_another_body_under_the_same_key_is_refused_and_has_no_effect(pool: Pool) -> None:
    await once(transaction(pool), CLAIM, make)

    with pytest.raises(IdempotencyKeyReused):
        await once(transaction(pool), replace(CLAIM, body_sha256="1" * 64), make)

    assert await made(pool) == 1


async def test_an_effect_that_fails_leaves_neither_rows_nor_a_claim(pool: Pool) -> None:
    async def fail(tx: Tx) -> Answer:
        await make(tx)
        raise Conflict("not now")

    with pytest.raises(Conflict):
        await once(transaction(pool), CLAIM, fail)
    retried = await once(transaction(pool), CLAIM, make)

    assert not retried.is_repeat
    assert await made(pool) == 1
