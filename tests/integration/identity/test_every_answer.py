"""Every status that the documents name for identity's routes is answered, and no other."""

from __future__ import annotations

import secrets
import uuid

import pytest

from libs.access.keys import new_key
from libs.bus.envelope import event_message
from libs.bus.kafka import access_of
from services.identity.domain import MAX_LIVE_KEYS
from tests.integration.identity.conftest import Identity, connected
from tests.support.access import ENV, NOW, key_changed, tenant_id
from tests.support.answers import Ask, Stage, drive

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAST = "2026-01-01T00:00:00Z"
ACME = {"name": "Acme"}
REGISTER = Ask("POST", "/v1/tenants", "operator", json=ACME)
LIST = Ask("GET", "/v1/tenants", "operator")
SHOW = Ask("GET", "/v1/tenants/{tenant_id}", "tenant")
KEY = Ask("POST", "/v1/tenants/{tenant_id}/keys", "operator", json={"name": "ci"})
EDGE = Ask("POST", "/v1/keys", "operator")
KEYS = Ask("GET", "/v1/keys", "operator")
REVOKE = Ask("DELETE", "/v1/keys/{key_id}", "operator")
ME = Ask("GET", "/v1/me", "tenant")
STRANGER = {"tenant_id": tenant_id(1)}
EDGES = """
INSERT INTO api_key (key_id, name, digest, kind, scopes, act_for, created_at, changed_at)
SELECT translate(lpad(n::text, 16, 'z'), '0189', 'abcd'), 'gateway', lpad(to_hex(n), 64, '0'), 'edge', '{}', $1,
  now(), now() FROM generate_series(1, $2::int) AS n
"""


async def test_every_documented_status_is_answered(identity: Identity) -> None:
    assert identity.app is not None
    acme, key = await identity.new_tenant()
    other, _ = await identity.new_tenant()
    keys = {"tenant": key, "operator": identity.operator, "powerless": await powerless(identity)}
    stage = Stage(identity.app, keys, {"tenant_id": acme, "key_id": key.split("_")[2]})
    edge = EDGE.but(json={"kind": "edge", "name": "gateway", "act_for": [acme]})
    claim = {"idempotency-key": "once"}
    own = [
        (400, REGISTER.but(json={})),
        (422, REGISTER.but(json={**ACME, "plan_id": "gold"})),
        (400, LIST.but(query={"limit": "0"})),
        (400, SHOW.but(names={"tenant_id": "acme"})),
        (404, SHOW.but(names=STRANGER)),
        (400, KEY.but(headers={"idempotency-key": ""})),
        (404, KEY.but(names=STRANGER)),
        (422, KEY.but(names={"tenant_id": other}, json={"name": "ci", "expires_at": PAST})),
        (409, KEY),
        (400, edge.but(json={"kind": "edge"})),
        (201, edge.but(headers=claim)),
        (422, edge.but(headers=claim, json={**edge.json, "name": "another"})),
        (400, KEYS.but(query={"cursor": "nonsense"})),
        (400, REVOKE.but(names={"key_id": "first"})),
        (404, REVOKE.but(names={"key_id": "a" * 16})),
    ]
    spare = (await stage.answer(KEY.but(names={"tenant_id": other}))).json()["key"]["key_id"]
    revoke = REVOKE.but(names={"key_id": spare})
    good = [(201, REGISTER), *((200, ask) for ask in (LIST, SHOW, KEYS, ME, revoke)), (201, KEY), (201, edge)]

    full = [(await beyond_the_last(stage, edge), edge)]

    assert [status for status, _ in full] == [409]
    await drive(stage, good, own, seen=full)


async def powerless(identity: Identity) -> str:
    """Return the key of an operator who may do nothing, such as only a token could be otherwise."""
    key = new_key(ENV, secrets.token_bytes)
    said = key_changed(key, "operator", scopes=())
    message = event_message("tenant-changes", said, key=f"key/{key.key_id}", event_id=uuid.uuid4(), at=NOW)
    async with connected(access_of(identity.settings)) as bus:
        await bus.publisher.publish([message])
    await identity.until_usable(key.text)
    return key.text


async def beyond_the_last(stage: Stage, ask: Ask) -> int:
    """Return what is answered to one more gateway's key where there are as many as may be."""
    worker = stage.app.state.pools.worker
    await worker.execute(EDGES, ask.json["act_for"], MAX_LIVE_KEYS["edge"])
    status = (await stage.answer(ask)).status_code
    await worker.execute("UPDATE api_key SET revoked_at = now() WHERE kind = 'edge'")
    return status
