"""Over time and over processes: revocation within a second, restarts, and the change of the operator's key."""

from __future__ import annotations

import logging
import secrets

from libs.access.directory import Directory
from libs.access.feed import fed
from libs.access.keys import ApiKey, new_key, parse_key
from libs.bus.kafka import KafkaAccess
from libs.runtime.clock import SystemClock
from libs.runtime.errors import Unauthenticated, Unavailable
from tests.integration.identity.conftest import Deployment, Identity, connected
from tests.support.access import ENV, bearer
from tests.support.conditions import eventually
from tests.support.stores import owner_of

REVOKED_WITHIN_S = 1.0  # what is promised: effective everywhere


def lets_in(directory: Directory, key: ApiKey) -> bool:
    try:
        return directory.authenticate(bearer(key), SystemClock().now()).key_id == key.key_id
    except (Unauthenticated, Unavailable):
        return False


async def until_lets_in(directory: Directory, key: ApiKey, *, wanted: bool) -> None:
    async def so() -> bool:
        return lets_in(directory, key) is wanted

    await eventually(so, f"the other process lets the key in: {wanted}", every_s=0.002)


async def known_key(identity: Identity, elsewhere: Directory) -> ApiKey:
    """Return a new tenant's key, once the other process knows it."""
    key = parse_key((await identity.new_tenant())[1])
    assert key is not None
    await until_lets_in(elsewhere, key, wanted=True)
    return key


async def test_a_revoked_key_is_refused_by_another_process_within_a_second(
    deployment: Deployment, own_kafka: KafkaAccess
) -> None:
    elsewhere, clock = Directory(ENV), SystemClock()

    async with deployment.running() as identity, connected(own_kafka) as bus, fed(elsewhere, bus):
        key = await known_key(identity, elsewhere)
        asked_s = clock.monotonic()
        await identity.call("DELETE", f"/v1/keys/{key.key_id}")
        await until_lets_in(elsewhere, key, wanted=False)
        took_s = clock.monotonic() - asked_s

    logging.getLogger(__name__).info("revoked elsewhere after %.3f s", took_s)
    assert took_s <= REVOKED_WITHIN_S


async def test_a_restart_keeps_tenants_keys_and_revocations(deployment: Deployment) -> None:
    async with deployment.running() as before:
        acme, key = await before.new_tenant()
        gone = await before.new_key(acme)
        await before.call("DELETE", f"/v1/keys/{gone.split('_')[2]}")

    async with deployment.running() as after:
        assert (await after.call("GET", f"/v1/tenants/{acme}", key)).json()["name"] == "Acme"
        assert (await after.call("GET", "/v1/me", gone)).status_code == 401


async def test_a_repeated_request_is_recognised_after_a_restart(deployment: Deployment) -> None:
    async with deployment.running() as before:
        first = await before.call("POST", "/v1/tenants", body={"name": "Acme"}, idempotency_key="k1")

    async with deployment.running() as after:
        again = await after.call("POST", "/v1/tenants", body={"name": "Acme"}, idempotency_key="k1")

    assert again.json()["tenant"] == first.json()["tenant"]
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_restart_with_the_same_operators_key_changes_nothing(deployment: Deployment) -> None:
    async with deployment.running():
        pass
    async with deployment.running():
        pass

    assert await changes_of(deployment) == [("key.adopted", deployment.operator.key_id)]


async def test_another_operators_key_takes_the_place_of_the_one_before(deployment: Deployment) -> None:
    async with deployment.running():
        pass
    old, deployment.operator = deployment.operator, new_key(ENV, secrets.token_bytes)

    async with deployment.running() as after:
        await after.until_refused(old.text)

    assert await changes_of(deployment) == [
        ("key.adopted", old.key_id),
        ("key.adopted", deployment.operator.key_id),
        ("key.revoked", old.key_id),
    ]


async def test_an_operators_key_that_was_revoked_does_not_come_back_by_a_restart(deployment: Deployment) -> None:
    async with deployment.running() as before:
        await before.call("DELETE", f"/v1/keys/{deployment.operator.key_id}")

    async with deployment.running() as after:
        assert (await after.call("GET", "/v1/me")).status_code == 401


async def test_two_processes_on_one_database_serve_the_same(deployment: Deployment) -> None:
    other = Deployment(deployment.settings.model_copy(update={"instance": "1"}), deployment.folder, deployment.operator)

    async with deployment.running() as first, other.running() as second:
        made = await first.call("POST", "/v1/tenants", body={"name": "Acme"}, idempotency_key="k1")
        again = await second.call("POST", "/v1/tenants", body={"name": "Acme"}, idempotency_key="k1")
        await second.until_usable(made.json()["key"]["secret"])

    assert again.json()["tenant"] == made.json()["tenant"]


async def changes_of(deployment: Deployment) -> list[tuple[str, str]]:
    async with owner_of(deployment.settings.postgres_url) as owner:
        changes = await owner.fetch("SELECT kind, subject FROM identity_change ORDER BY change_id")
    return [(change["kind"], change["subject"].removeprefix("key/")) for change in changes]
