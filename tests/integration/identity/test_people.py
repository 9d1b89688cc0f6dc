"""People who come with tokens: they change what their provider's word lets them, under a pseudonym that stays."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml

from tests.integration.identity.conftest import Deployment
from tests.support.stores import owner_of
from tests.support.tokens import ACTOR_KEY, AUDIENCE, ISSUER, jwks, pair, signed

KEY = pair("ES256", "ec")
PERSON = "anna@example.test"
MAY_REGISTER = (
    "evidence:read invoices:read tenants:write usage:read"  # a tenant's first key holds no more than its maker
)


def trusting(deployment: Deployment, folder: Path) -> Deployment:
    """Return the deployment with an issuer of operators' tokens, whose keys lie in a file."""
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256"], "kind": "operator"}
    (folder / "keys.json").write_bytes(jwks(KEY))
    (folder / "actor.key").write_text(ACTOR_KEY)
    issuers = [issuer | {"jwks_file": str(folder / "keys.json")}]
    (folder / "issuers.yaml").write_text(yaml.safe_dump({"issuers": issuers}))
    told = {"issuers_file": folder / "issuers.yaml", "actor_key_file": folder / "actor.key"}
    return Deployment(deployment.settings.model_copy(update=told), deployment.folder, deployment.operator)


def token(scope: str, **changes: Any) -> str:
    """Return a token of the person that is good now."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": PERSON, "exp": int(time.time()) + 300, "scope": scope}
    return signed(KEY, claims | changes)


async def everything_said(deployment: Deployment) -> list[bytes]:
    async with owner_of(deployment.settings.postgres_url) as owner:
        rows = await owner.fetch(
            "SELECT value FROM outbox UNION ALL SELECT convert_to(to_jsonb(c)::text, 'UTF8') FROM identity_change c"
        )
    return [bytes(row["value"]) for row in rows]


async def test_a_person_registers_a_tenant_and_is_recorded_under_a_pseudonym(
    deployment: Deployment, tmp_path: Path
) -> None:
    async with trusting(deployment, tmp_path).running() as identity:
        person = token(MAY_REGISTER)
        me = (await identity.call("GET", "/v1/me", person)).json()
        made = await identity.call("POST", "/v1/tenants", person, body={"name": "Acme"}, maestro_reason="contract 9")
        less = token("tenants:write")
        no_more = await identity.call("POST", "/v1/tenants", less, body={"name": "Acme"}, maestro_reason="contract 9")
        expired = await identity.call("GET", "/v1/me", token(MAY_REGISTER, exp=int(time.time()) - 300))

    assert (me["kind"], " ".join(me["scopes"]), me["key_id"][:4]) == ("operator", MAY_REGISTER, "jwt_")
    assert (made.status_code, expired.status_code) == (201, 401)
    assert (no_more.status_code, no_more.json()["error"]) == (403, "scope_not_grantable")
    said = await everything_said(deployment)
    about = [value for value in said if made.json()["tenant"]["tenant_id"].encode() in value]
    assert any(me["key_id"].encode() in value and b"contract 9" in value for value in about)
    assert not [value for value in said if PERSON.encode() in value]


async def test_a_person_who_does_not_say_why_changes_nothing(deployment: Deployment, tmp_path: Path) -> None:
    async with trusting(deployment, tmp_path).running() as identity:
        person = token(f"{MAY_REGISTER} tenants:read")
        before = (await identity.call("GET", "/v1/tenants", person)).json()
        silent = await identity.call("POST", "/v1/tenants", person, body={"name": "Acme"})
        blank = await identity.call("POST", "/v1/tenants", person, body={"name": "Acme"}, maestro_reason=" ")
        after = (await identity.call("GET", "/v1/tenants", person)).json()

    assert [(one.status_code, one.json()["error"]) for one in (silent, blank)] == [(400, "bad_reason")] * 2
    assert before["items"] == after["items"]
