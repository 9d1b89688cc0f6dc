"""An issuer's keys: fetched seldom, by one for all, and kept while they may be."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from libs.access.oidc.keyring import IssuerSilent, KeyRing
from libs.access.oidc.keyset import KeySetUnusable, read_key_set
from libs.runtime.clock import ManualClock
from tests.support.access import NOW
from tests.support.tokens import Provider, jwks, pair

OLD, NEW = pair("ES256", "old"), pair("ES256", "new")
MINUTE, DAY = timedelta(seconds=60), timedelta(days=1)


def ring_of(provider: Provider) -> tuple[KeyRing, ManualClock]:
    clock = ManualClock(NOW)
    return KeyRing("issuer", provider.fetch, clock), clock


async def found(ring: KeyRing, kid: str) -> bool:
    return await ring.find(kid) is not None


async def settled(ring: KeyRing) -> None:
    """Let the fetch that was begun in the background end."""
    assert ring._fetching is not None
    await ring._fetching


async def test_keys_are_fetched_once_and_then_known() -> None:
    provider = Provider(OLD)
    ring, _ = ring_of(provider)
    assert [await found(ring, "old") for _ in range(50)] == [True] * 50
    assert provider.fetch_count == 1


async def test_a_flood_of_unknown_ids_fetches_once_a_minute_and_waits_for_nothing() -> None:
    provider = Provider(OLD)
    ring, clock = ring_of(provider)
    assert await found(ring, "old")
    provider.answers.clear()  # another fetch would hang: whoever is answered did not wait for one
    assert not any([await found(ring, f"unknown-{number}") for number in range(1_000)])
    assert provider.fetch_count == 1

    provider.answers.set()
    clock.advance(MINUTE)
    assert not any([await found(ring, f"unknown-{number}") for number in range(1_000)])
    assert provider.fetch_count == 2


async def test_all_who_wait_wait_for_one_fetch() -> None:
    provider = Provider(OLD)
    provider.answers.clear()
    ring, _ = ring_of(provider)
    waiting = [asyncio.create_task(found(ring, "old")) for _ in range(20)]
    await asyncio.sleep(0)
    provider.answers.set()
    assert all(await asyncio.gather(*waiting))
    assert provider.fetch_count == 1


async def test_one_who_gives_up_waiting_ends_no_fetch_of_others() -> None:
    provider = Provider(OLD)
    provider.answers.clear()
    ring, _ = ring_of(provider)
    impatient, patient = (asyncio.create_task(found(ring, "old")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    provider.answers.set()
    assert await patient


async def test_a_new_key_is_found_as_soon_as_it_signs_and_a_withdrawn_one_goes() -> None:
    provider = Provider(OLD)
    ring, clock = ring_of(provider)
    assert await found(ring, "old")
    clock.advance(MINUTE)
    provider.content = jwks(NEW)
    assert await found(ring, "new")
    assert not await found(ring, "old")


async def test_a_withdrawn_key_goes_when_the_set_is_renewed_though_nobody_asks_for_another() -> None:
    provider = Provider(OLD)
    ring, clock = ring_of(provider)
    assert await found(ring, "old")
    provider.content = jwks(NEW)
    clock.advance(timedelta(seconds=601))
    assert await found(ring, "old")  # answered from what is known, while it is renewed
    await settled(ring)
    assert not await found(ring, "old")


async def test_the_last_good_set_serves_while_the_issuer_is_down_and_then_no_more() -> None:
    provider = Provider(OLD)
    ring, clock = ring_of(provider)
    assert await found(ring, "old")
    provider.is_down = True
    clock.advance(DAY)
    assert await found(ring, "old")
    await settled(ring)

    clock.advance(timedelta(seconds=61))
    with pytest.raises(IssuerSilent) as error:
        await ring.find("old")
    assert error.value.status == 503
    assert error.value.headers["retry-after"] == "60"

    provider.is_down = False
    with pytest.raises(IssuerSilent):
        await ring.find("old")  # not asked again within the minute
    clock.advance(MINUTE)
    assert await found(ring, "old")


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [7]}'])
async def test_what_is_no_key_set_replaces_none(content: bytes) -> None:
    provider = Provider(OLD)
    ring, clock = ring_of(provider)
    assert await found(ring, "old")
    provider.content = content
    clock.advance(MINUTE)
    assert not await found(ring, "other")
    assert provider.fetch_count == 2
    assert await found(ring, "old")


RSA, ED = pair("RS256", "rsa"), pair("EdDSA", "ed")


def test_a_set_gives_the_keys_that_verify() -> None:
    keys = read_key_set(jwks(OLD, RSA, ED))
    assert {kid: key.algorithm for kid, key in keys.items()} == {"old": "ES256", "rsa": "RS256", "ed": "EdDSA"}


@pytest.mark.parametrize(
    "unfit",
    [
        RSA.jwk | {"use": "enc"},
        RSA.jwk | {"alg": "RS512"},
        RSA.jwk | {"alg": "HS256"},
        RSA.jwk | {"key_ops": ["sign"]},
        RSA.jwk | {"key_ops": "verify"},
        RSA.jwk | {"kid": None},
        RSA.jwk | {"kid": ""},
        RSA.jwk | {"n": 5},
        RSA.jwk | {"kty": ["RSA"]},
        RSA.jwk | {"d": "AQAB"},
        OLD.jwk | {"crv": "P-384"},
        OLD.jwk | {"crv": "secp256k1"},
        OLD.jwk | {"x": "AAAA"},
        OLD.jwk | {"y": None},
        ED.jwk | {"crv": "Ed448"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256"},
        pair("RS256", "weak", 1_024).jwk,
        pair("RS256", "nearly", 2_040).jwk,
    ],
    ids=lambda jwk: " ".join(f"{name}={jwk.get(name)}"[:30] for name in ("kid", "kty", "crv", "alg", "use")),
)
def test_a_key_that_does_not_fit_is_passed_over(unfit: dict[str, Any]) -> None:
    assert list(read_key_set(jwks(NEW, unfit))) == ["new"]
    with pytest.raises(KeySetUnusable):
        read_key_set(jwks(unfit))


def test_keys_that_share_an_id_are_none_of_them_used() -> None:
    assert list(read_key_set(jwks(NEW, OLD, OLD.jwk | {"x": NEW.jwk["x"], "y": NEW.jwk["y"]}))) == ["new"]


def test_a_set_of_too_many_keys_is_none() -> None:
    with pytest.raises(KeySetUnusable):
        read_key_set(jwks(*[OLD.jwk | {"kid": str(number)} for number in range(101)]))


@pytest.mark.parametrize("again", [b'"keys": []', b'"later": {"a": 1, "a": 2}', b'"later": NaN'])
def test_a_set_that_may_be_read_in_two_ways_is_none(again: bytes) -> None:
    with pytest.raises(KeySetUnusable, match="a name is said twice"):
        read_key_set(b"{" + again + b", " + jwks(OLD)[1:])


def test_a_set_is_none_where_a_key_says_a_name_twice() -> None:
    with pytest.raises(KeySetUnusable, match="a name is said twice"):
        read_key_set(jwks(OLD).replace(b'"kid":', b'"kid":"another","kid":'))
