"""No key reads another tenant or its keys, makes keys for it, or revokes them."""

from __future__ import annotations

import pytest

from libs.access.scopes import DEFAULT_SCOPES
from tests.integration.identity.conftest import Identity
from tests.support.access import tenant_id
from tests.support.across_tenants import Trial, try_across
from tests.support.answers import Ask, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOW = Ask("GET", "/v1/tenants/{tenant_id}")
KEY = Ask("POST", "/v1/tenants/{tenant_id}/keys", json={"name": "ci"})
REVOKE = Ask("DELETE", "/v1/keys/{key_id}")
NOBODY = {"tenant_id": tenant_id(1)}
NAME = "Secret Society"


async def test_every_route_keeps_tenants_apart(identity: Identity) -> None:
    assert identity.app is not None
    my_id, _ = await identity.new_tenant()
    their_id, their_key = await identity.new_tenant(NAME)
    mine = await identity.new_key(my_id, scopes=[*DEFAULT_SCOPES["tenant"], "keys:write"])
    body = {"kind": "edge", "name": "gateway", "act_for": [my_id]}
    edge = (await identity.call("POST", "/v1/keys", body=body)).json()["key"]["secret"]
    await identity.until_usable(edge)
    their_key_id = their_key.split("_")[2]
    stage = Stage(identity.app, {"mine": mine, "edge": edge}, {"tenant_id": their_id, "key_id": their_key_id})
    trials = [
        Trial(Ask("POST", "/v1/tenants", json={"name": "Mine Too"}), 403, 403),
        Trial(Ask("GET", "/v1/tenants"), 200, 200),
        Trial(SHOW, 404, 404, SHOW.but(names=NOBODY)),
        Trial(KEY, 404, 403, KEY.but(names=NOBODY)),
        Trial(Ask("POST", "/v1/keys", json={**body, "act_for": [their_id]}), 403, 403),
        Trial(Ask("GET", "/v1/keys"), 200, 403),
        Trial(REVOKE, 404, 403),
        Trial(Ask("GET", "/v1/me"), 200, 200),
    ]

    await try_across(stage, trials, theirs=[NAME, their_key, f'"tenant_id":"{their_id}"'])

    assert (await identity.call("GET", "/v1/me", their_key)).status_code == 200
