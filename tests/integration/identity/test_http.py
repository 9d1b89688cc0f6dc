"""The HTTP API of identity on real parts: what it creates, once; what it shows, to whom."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import httpx
import pytest

from libs.access.scopes import DEFAULT_SCOPES, OPERATOR_SCOPES
from libs.runtime.clock import SystemClock
from libs.schemas.values import rfc3339
from tests.integration.identity.conftest import Identity
from tests.support.access import api_key, tenant_id

pytestmark = pytest.mark.asyncio(loop_scope="module")
Order = dict[str, object]
MAX_PAGES = 100  # more than the tests of this module can fill


@pytest.fixture
def name() -> str:
    """The name of a tenant of this test alone."""
    return f"Acme {secrets.token_hex(4)}"


@pytest.fixture
def claim() -> str:
    """An Idempotency-Key of this test alone."""
    return secrets.token_hex(8)


@pytest.fixture
def order(name: str) -> Order:
    return {"name": name, "billing_zone": "Europe/Berlin"}


async def all_tenants(identity: Identity, limit: int) -> list[dict[str, str]]:
    """Return all tenants, walking the pages to the last."""
    items: list[dict[str, str]] = []
    query = f"?limit={limit}"
    for _ in range(MAX_PAGES):
        page = (await identity.call("GET", f"/v1/tenants{query}")).json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query = f"?limit={limit}&cursor={page['next_cursor']}"
    raise AssertionError("the pages do not end")


async def count_of(identity: Identity, name: str) -> int:
    return [tenant["name"] for tenant in await all_tenants(identity, limit=500)].count(name)


def without_secret(answer: httpx.Response) -> list[object]:
    body = answer.json()
    shown_again = {name: value for name, value in body["key"].items() if name not in {"secret", "note"}}
    return [body.get("tenant"), shown_again]


async def test_a_registered_tenant_is_answered_with_its_first_key(identity: Identity, name: str, order: Order) -> None:
    answer = await identity.call("POST", "/v1/tenants", body=order)

    tenant, key = answer.json()["tenant"], answer.json()["key"]
    assert answer.status_code == 201
    assert (tenant["name"], tenant["plan_id"], tenant["billing_zone"], tenant["status"]) == (
        name,
        "starter",
        "Europe/Berlin",
        "active",
    )
    assert (key["kind"], key["tenant_id"], key["scopes"]) == (
        "tenant",
        tenant["tenant_id"],
        list(DEFAULT_SCOPES["tenant"]),
    )
    assert key["secret"].startswith(f"mst_local_{key['key_id']}_")


async def test_the_first_key_acts_for_its_tenant(identity: Identity) -> None:
    acme, key = await identity.new_tenant()

    assert (await identity.call("GET", "/v1/me", key)).json() == {
        "key_id": key.split("_")[2],
        "kind": "tenant",
        "tenant_id": acme,
        "scopes": sorted(DEFAULT_SCOPES["tenant"]),
        "act_for": [],
    }


async def test_the_operator_of_the_set_up_may_do_everything_but_speak_for_a_tenant(identity: Identity) -> None:
    me = (await identity.call("GET", "/v1/me")).json()

    assert (me["kind"], me["scopes"]) == ("operator", sorted(OPERATOR_SCOPES))


async def test_a_repeated_request_creates_nothing_and_is_answered_alike_without_the_secret(
    identity: Identity, name: str, order: Order, claim: str
) -> None:
    first = await identity.call("POST", "/v1/tenants", body=order, idempotency_key=claim)
    again = await identity.call("POST", "/v1/tenants", body=order, idempotency_key=claim)

    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert without_secret(again) == without_secret(first)
    assert again.json()["key"]["secret"] is None
    assert "stored nowhere" in again.json()["key"]["note"]
    assert await count_of(identity, name) == 1


async def test_of_many_equal_requests_at_once_one_creates(
    identity: Identity, name: str, order: Order, claim: str
) -> None:
    answers = await asyncio.gather(
        *(identity.call("POST", "/v1/tenants", body=order, idempotency_key=claim) for _ in range(6))
    )

    assert [answer.status_code for answer in answers] == [201] * 6
    assert len([answer for answer in answers if answer.json()["key"]["secret"]]) == 1
    assert await count_of(identity, name) == 1


async def test_requests_without_an_idempotency_key_each_create(identity: Identity, name: str, order: Order) -> None:
    await identity.call("POST", "/v1/tenants", body=order)
    await identity.call("POST", "/v1/tenants", body=order)

    assert await count_of(identity, name) == 2


async def test_an_idempotency_key_belongs_to_one_body(identity: Identity, order: Order, claim: str) -> None:
    await identity.call("POST", "/v1/tenants", body=order, idempotency_key=claim)
    other = await identity.call("POST", "/v1/tenants", body={"name": "Other"}, idempotency_key=claim)

    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")


async def test_an_idempotency_key_belongs_to_one_path(identity: Identity, claim: str) -> None:
    acme, _ = await identity.new_tenant("Acme")
    other, _ = await identity.new_tenant("Other")
    body = {"name": "ci"}

    first = await identity.call("POST", f"/v1/tenants/{acme}/keys", body=body, idempotency_key=claim)
    second = await identity.call("POST", f"/v1/tenants/{other}/keys", body=body, idempotency_key=claim)

    assert (first.json()["key"]["tenant_id"], second.json()["key"]["tenant_id"]) == (acme, other)


async def test_a_refused_request_can_be_repeated_under_its_idempotency_key_once_it_is_possible(
    identity: Identity, claim: str
) -> None:
    refused = await identity.call(
        "POST", "/v1/tenants", body={"name": "Acme", "plan_id": "gold"}, idempotency_key=claim
    )
    taken = await identity.call("POST", "/v1/tenants", body={"name": "Acme"}, idempotency_key=claim)

    assert (refused.status_code, refused.json()["error"]) == (422, "unknown_plan")
    assert taken.status_code == 201


async def test_a_tenant_sees_itself_and_no_other(identity: Identity) -> None:
    acme, key = await identity.new_tenant("Acme")
    other, _ = await identity.new_tenant("Other")

    seen = (await identity.call("GET", "/v1/tenants", key)).json()

    assert [tenant["tenant_id"] for tenant in seen["items"]] == [acme]
    assert (await identity.call("GET", f"/v1/tenants/{acme}", key)).json()["name"] == "Acme"
    assert (await identity.call("GET", f"/v1/tenants/{other}", key)).status_code == 404


async def test_another_tenant_and_no_tenant_look_alike(identity: Identity) -> None:
    _, key = await identity.new_tenant("Acme")
    other, _ = await identity.new_tenant("Other")

    of_other = (await identity.call("GET", f"/v1/tenants/{other}", key)).json()
    of_nobody = (await identity.call("GET", f"/v1/tenants/{tenant_id(1)}", key)).json()

    assert (of_other["title"], of_other["detail"]) == (of_nobody["title"], of_nobody["detail"])


async def test_pages_of_tenants_hold_each_once_in_order(identity: Identity, name: str) -> None:
    names = [f"{name} {number}" for number in range(5)]
    for one in names:
        await identity.call("POST", "/v1/tenants", body={"name": one})

    walked = await all_tenants(identity, limit=2)

    assert [tenant["name"] for tenant in walked if tenant["name"].startswith(name)] == names
    assert len({tenant["tenant_id"] for tenant in walked}) == len(walked)


async def test_a_page_that_ends_exactly_at_the_last_tenant_is_the_last(identity: Identity) -> None:
    _, key = await identity.new_tenant()

    assert (await identity.call("GET", "/v1/tenants?limit=1", key)).json()["next_cursor"] is None


async def test_a_gateways_key_names_the_tenants_that_it_was_made_for(identity: Identity) -> None:
    acme, _ = await identity.new_tenant()
    body = {"kind": "edge", "name": "gateway", "act_for": [acme]}

    made = (await identity.call("POST", "/v1/keys", body=body)).json()["key"]
    await identity.until_usable(made["secret"])

    me = (await identity.call("GET", "/v1/me", made["secret"])).json()
    assert (me["kind"], me["act_for"], me["scopes"]) == ("edge", [acme], ["quota:check", "usage:write"])


async def test_a_gateways_key_for_a_tenant_that_there_is_not_is_refused_by_name(identity: Identity) -> None:
    body = {"kind": "edge", "name": "gateway", "act_for": [tenant_id(1)]}

    answer = await identity.call("POST", "/v1/keys", body=body)

    assert (answer.status_code, answer.json()["unknown"]) == (422, [tenant_id(1)])


async def test_a_repeated_order_of_a_gateways_key_makes_one(identity: Identity, claim: str) -> None:
    acme, _ = await identity.new_tenant()
    body = {"kind": "edge", "name": "gateway", "act_for": [acme]}

    first = await identity.call("POST", "/v1/keys", body=body, idempotency_key=claim)
    again = await identity.call("POST", "/v1/keys", body=body, idempotency_key=claim)

    assert without_secret(again) == without_secret(first)
    assert again.json()["key"]["secret"] is None


async def test_a_tenant_trusted_with_its_keys_manages_its_own_and_no_others(identity: Identity) -> None:
    acme, first = await identity.new_tenant("Acme")
    other, others_key = await identity.new_tenant("Other")
    trusted = await identity.new_key(acme, scopes=["keys:write", "usage:read"])
    others_key_id = others_key.split("_")[2]

    replaced = await identity.call("DELETE", f"/v1/keys/{first.split('_')[2]}", trusted)
    own = await identity.call("POST", f"/v1/tenants/{acme}/keys", trusted, body={"name": "r", "scopes": ["usage:read"]})
    of_other = await identity.call("POST", f"/v1/tenants/{other}/keys", trusted, body={"name": "r"})
    revoked = await identity.call("DELETE", f"/v1/keys/{others_key_id}", trusted)
    listed = (await identity.call("GET", "/v1/keys", trusted)).json()["items"]

    assert (replaced.status_code, own.status_code) == (200, 201)
    assert of_other.status_code == 404
    assert revoked.status_code == 404
    assert {key["tenant_id"] for key in listed} == {acme}


async def test_a_key_cannot_make_one_that_may_do_more(identity: Identity) -> None:
    acme, _ = await identity.new_tenant()
    trusted = await identity.new_key(acme, scopes=["keys:write"])

    answer = await identity.call(
        "POST", f"/v1/tenants/{acme}/keys", trusted, body={"name": "r", "scopes": ["usage:read"]}
    )

    assert (answer.status_code, answer.json()["error"]) == (403, "scope_not_grantable")


async def test_a_tenants_key_makes_no_key_for_a_gateway(identity: Identity) -> None:
    acme, _ = await identity.new_tenant()
    trusted = await identity.new_key(acme, scopes=["keys:write"])

    answer = await identity.call("POST", "/v1/keys", trusted, body={"kind": "edge", "name": "g", "act_for": [acme]})

    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


async def test_a_key_for_a_tenant_that_there_is_not_is_not_made(identity: Identity) -> None:
    answer = await identity.call("POST", f"/v1/tenants/{tenant_id(1)}/keys", body={"name": "ci"})

    assert answer.status_code == 404


async def test_a_key_works_until_it_expires(identity: Identity) -> None:
    acme, _ = await identity.new_tenant()
    expires_at = SystemClock().now() + timedelta(seconds=2)
    key = await identity.new_key(acme, expires_at=rfc3339(expires_at))

    await identity.until_refused(key)

    assert SystemClock().now() >= expires_at


async def test_pages_of_keys_show_no_digest_and_no_secret(identity: Identity) -> None:
    await identity.new_tenant()

    answer = await identity.call("GET", "/v1/keys")

    assert {name for key in answer.json()["items"] for name in key} == {
        "key_id",
        "name",
        "kind",
        "tenant_id",
        "scopes",
        "act_for",
        "created_at",
        "expires_at",
        "revoked_at",
    }


async def test_a_revoked_key_stays_revoked_as_it_first_was(identity: Identity) -> None:
    _, key = await identity.new_tenant()
    path = f"/v1/keys/{key.split('_')[2]}"

    first = await identity.call("DELETE", path)
    again = await identity.call("DELETE", path)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["revoked_at"] is not None
    assert again.json() == first.json()


async def test_a_key_that_there_is_not_cannot_be_revoked(identity: Identity) -> None:
    answer = await identity.call("DELETE", f"/v1/keys/{api_key(99).key_id}")

    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_the_number_of_a_tenants_live_keys_has_a_bound_even_when_ordered_at_once(identity: Identity) -> None:
    acme, _ = await identity.new_tenant()
    path = f"/v1/tenants/{acme}/keys"

    answers = await asyncio.gather(*(identity.call("POST", path, body={"name": "ci"}) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 3


async def test_a_key_is_rotated_by_a_second_one_and_the_revocation_of_the_first(identity: Identity) -> None:
    acme, old = await identity.new_tenant()
    new = await identity.new_key(acme)
    third = await identity.call("POST", f"/v1/tenants/{acme}/keys", body={"name": "one too many"})
    both = [(await identity.call("GET", "/v1/me", key)).status_code for key in (old, new)]

    await identity.call("DELETE", f"/v1/keys/{old.split('_')[2]}")
    await identity.until_refused(old)
    next_one = await identity.new_key(acme)

    assert (third.status_code, third.json()["error"], third.json()["bound"]) == (409, "too_many_keys", 2)
    assert both == [200, 200]
    assert (await identity.call("GET", "/v1/me", new)).status_code == 200
    assert (await identity.call("GET", "/v1/me", next_one)).status_code == 200


async def test_an_expired_key_makes_room_for_another(identity: Identity) -> None:
    acme, _ = await identity.new_tenant()
    short = await identity.new_key(acme, expires_at=rfc3339(SystemClock().now() + timedelta(seconds=2)))

    await identity.until_refused(short)

    assert await identity.new_key(acme)
