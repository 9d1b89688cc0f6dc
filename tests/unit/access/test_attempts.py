"""Failed attempts: counted by address, in bounded memory, and nobody's neighbour is locked out."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_network

import pytest

from libs.access.attempts import FailedAttempts
from libs.access.directory import Directory
from libs.access.door import Door
from libs.access.errors import TooManyAttempts
from libs.access.keys import ApiKey, digest_of
from libs.access.peers import UNKNOWN, client_address
from libs.runtime.clock import ManualClock
from libs.runtime.errors import Unauthenticated
from tests.support.access import ENV, NOW, api_key, bearer, directory_of, key_changed, tenant_changed
from tests.support.tokens import A, Provider, pair, signed, token_door

GOOD, WRONG, OTHER = api_key(1), api_key(2), api_key(4)
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
HERE, THERE = "192.0.2.1", "192.0.2.2"
BURST, PERIOD_S = 3, 10.0


def door() -> tuple[Door, ManualClock]:
    clock = ManualClock(NOW)
    attempts = FailedAttempts(clock, burst=BURST, period_s=PERIOD_S)
    return Door(directory_of(key_changed(GOOD, "operator")), clock, attempts=attempts), clock


async def status(opened: Door, authorization: str, address: str = HERE) -> int:
    try:
        await opened.admit(authorization, address)
    except (Unauthenticated, TooManyAttempts) as error:
        return error.status
    return 200


async def outcome(opened: Door, key: ApiKey, address: str = HERE) -> int:
    return await status(opened, bearer(key), address)


async def exhausted() -> tuple[Door, ManualClock]:
    opened, clock = door()
    assert [await outcome(opened, WRONG) for _ in range(BURST)] == [401] * BURST
    return opened, clock


async def test_failures_past_the_limit_are_not_looked_at_and_told_when_to_come_back() -> None:
    opened, clock = await exhausted()
    with pytest.raises(TooManyAttempts) as error:
        await opened.admit(bearer(WRONG), HERE)
    assert error.value.headers == {"retry-after": "10"}
    assert await outcome(opened, GOOD) == 429  # not even tried: no guess is evaluated

    clock.advance(timedelta(seconds=PERIOD_S))
    assert await outcome(opened, GOOD) == 200


async def test_another_address_is_not_concerned() -> None:
    opened, _ = await exhausted()
    assert await outcome(opened, WRONG, THERE) == 401
    assert await outcome(opened, GOOD, THERE) == 200


async def test_a_key_that_was_good_from_a_shared_address_goes_on() -> None:
    opened, _ = door()
    assert await outcome(opened, GOOD) == 200
    assert [await outcome(opened, WRONG) for _ in range(BURST + 1)] == [401, 401, 401, 429]
    assert await outcome(opened, GOOD) == 200


async def test_good_attempts_are_not_counted() -> None:
    opened, _ = door()
    assert [await outcome(opened, GOOD) for _ in range(100)] == [200] * 100
    assert await outcome(opened, WRONG) == 401


async def test_time_pays_for_failures_one_by_one() -> None:
    opened, clock = await exhausted()
    clock.advance(timedelta(seconds=PERIOD_S))
    assert [await outcome(opened, WRONG) for _ in range(2)] == [401, 429]


def test_memory_is_bounded_and_forgets_who_failed_longest_ago() -> None:
    attempts = FailedAttempts(ManualClock(NOW), burst=1, max_addresses=2)
    for address in ("a", "b", "c"):
        attempts.failed(address, "wrong")
    attempts.require_room("a", "x")  # pushed out
    with pytest.raises(TooManyAttempts):
        attempts.require_room("b", "x")
    assert len(attempts._due_at) == 2


def test_what_was_proven_is_bounded_too_and_holds_no_credential() -> None:
    attempts = FailedAttempts(ManualClock(NOW), max_proven=2)
    for number in range(5):
        attempts.passed("a", f"secret-{number}")
    assert len(attempts._proven) == 2
    assert "secret" not in repr(attempts._proven)


async def passed_on(opened: Door, key: ApiKey, address: str = HERE) -> int:
    try:
        await opened.holder(key.text, address)
    except (Unauthenticated, TooManyAttempts) as error:
        return error.status
    return 200


def gateway_door(*, max_repeated: int = 9) -> tuple[Door, Directory, ManualClock]:
    clock, directory = ManualClock(NOW), directory_of(key_changed(GOOD, "operator"), key_changed(OTHER, "operator"))
    attempts = FailedAttempts(clock, burst=BURST, period_s=PERIOD_S, max_repeated=max_repeated)
    return Door(directory, clock, passed_on=attempts, trusted_proxies=TRUSTED), directory, clock


async def test_wrong_credentials_that_are_passed_on_count_and_the_next_is_not_looked_at() -> None:
    opened, _, clock = gateway_door()
    assert [await passed_on(opened, api_key(n)) for n in range(10, 14)] == [401, 401, 401, 429]
    assert await passed_on(opened, GOOD) == 429
    assert await passed_on(opened, GOOD, THERE) == 200
    clock.advance(timedelta(seconds=PERIOD_S))
    assert await passed_on(opened, GOOD) == 200


async def test_what_is_passed_on_closes_the_door_to_nobody() -> None:
    opened, _, _ = gateway_door()
    assert [await passed_on(opened, api_key(n)) for n in range(10, 14)][-1] == 429
    assert await outcome(opened, OTHER) == 200


async def test_a_credential_that_was_good_when_passed_on_goes_on_being_taken() -> None:
    opened, _, _ = gateway_door()
    assert await passed_on(opened, GOOD) == 200
    assert [await passed_on(opened, api_key(n)) for n in range(10, 14)][-1] == 429
    assert [await passed_on(opened, key) for key in (GOOD, OTHER)] == [200, 429]


async def test_one_who_repeats_a_wrong_key_uses_up_one_attempt_of_those_behind_the_same_gateway() -> None:
    opened, directory, _ = gateway_door()
    assert [await passed_on(opened, WRONG) for _ in range(50)] == [401] * 50
    assert [await passed_on(opened, key) for key in (GOOD, OTHER)] == [200, 200]
    assert [await passed_on(opened, api_key(n)) for n in range(10, 13)] == [401, 401, 429]
    assert await passed_on(opened, WRONG) == 401
    directory.on_key_changed(key_changed(WRONG, "operator"))
    assert await passed_on(opened, WRONG) == 200


async def test_repetitions_are_free_as_far_as_they_are_remembered() -> None:
    opened, _, _ = gateway_door(max_repeated=1)
    tried = [api_key(10), api_key(11), api_key(10), api_key(11)]
    assert [await passed_on(opened, key) for key in tried] == [401, 401, 401, 429]


async def test_customers_of_a_gateway_that_names_their_addresses_are_counted_one_by_one() -> None:
    opened, _, _ = gateway_door()
    first, second = (opened.address_of("10.0.0.1", [one]) for one in ("198.51.100.7", "198.51.100.8"))
    assert [await passed_on(opened, api_key(n), first) for n in range(10, 14)][-1] == 429
    assert await passed_on(opened, GOOD, second) == 200


async def test_a_wrong_token_counts_as_a_wrong_key_does() -> None:
    opened = token_door(Provider(pair("ES256", "ec")), tenant_changed(A))
    stranger = pair("ES256", "stranger")
    authorization = f"Bearer {signed(stranger, None, kid='ec')}"
    statuses = Counter([await status(opened, authorization) for _ in range(70)])
    assert statuses == {401: 60, 429: 10}


async def test_a_door_takes_keys_and_tokens() -> None:
    key = api_key(3)
    said = (tenant_changed(A), key_changed(key, "tenant", tenant_id=A))
    opened = token_door(Provider(pair("ES256", "ec")), *said)
    assert (await opened.admit(bearer(key), HERE)).tenant_id == A
    assert (await opened.admit(f"Bearer {signed(pair('ES256', 'ec'))}", HERE)).tenant_id == A


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param(GOOD.text, id="known"),
        pytest.param(WRONG.text, id="unknown id"),
        pytest.param(GOOD.text[:-43] + WRONG.text[-43:], id="known id, wrong secret"),
        pytest.param("mst_local_short", id="no key"),
        pytest.param("", id="nothing"),
    ],
)
def test_every_attempt_costs_one_digest_of_what_was_sent(credential: str) -> None:
    digested: list[str] = []

    def counting(text: str) -> bytes:
        digested.append(text)
        return digest_of(text)

    directory = Directory(ENV, digest=counting)
    directory.on_key_changed(key_changed(GOOD, "operator"))
    directory.trust()
    with suppress(Unauthenticated):
        directory.holder(credential, NOW)
    assert digested == [credential]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # not from a proxy of ours: its word is not taken
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # the client itself wrote the first
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("2001:db8:1:2:aaaa::1", [], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        (None, ["198.51.100.7"], UNKNOWN),
        ("testclient", [], UNKNOWN),
    ],
)
def test_a_proxy_is_believed_as_far_as_it_is_trusted(peer: str | None, forwarded: list[str], client: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == client


def test_an_endless_list_of_hops_is_read_to_a_bound() -> None:
    assert client_address("10.0.0.1", [", ".join(["10.0.0.9"] * 100_000)], TRUSTED) == "10.0.0.9"
