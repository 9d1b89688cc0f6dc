"""The HTTP API of identity on real parts."""

from __future__ import annotations

from typing import Any

from libs.access.scopes import ALL_SCOPES, DEFAULT_SCOPES


async def test_smoke(identity: Any) -> None:
    answer = await identity.call("GET", "/v1/me")
    assert answer.json()["scopes"] == sorted(ALL_SCOPES)
    tenant_id, key = await identity.new_tenant()
    me = (await identity.call("GET", "/v1/me", key)).json()
    assert me == {
        "key_id": key.split("_")[2],
        "kind": "tenant",
        "tenant_id": tenant_id,
        "scopes": sorted(DEFAULT_SCOPES["tenant"]),
        "act_for": [],
    }
