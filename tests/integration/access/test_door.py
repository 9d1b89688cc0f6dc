"""The door as a service has it: settings, issuers' file, key set over TLS or from a file, HTTP in front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi import FastAPI

from libs.access.door import open_door
from libs.access.request import Caller
from libs.runtime.clock import ManualClock
from libs.runtime.settings import ServiceSettings
from libs.runtime.web import create_app
from tests.support.access import NOW, api_key, bearer, directory_of, key_changed, tenant_changed
from tests.support.far_side import far_side, make_authority, saying
from tests.support.tokens import ACTOR_KEY, AUDIENCE, ISSUER, A, jwks, pair, signed

EC, ED, STRANGER = pair("ES256", "ec"), pair("EdDSA", "ed"), pair("ES256", "stranger")
KEY = api_key(1)


def settings(folder: Path, issuer: dict[str, Any], **more: Any) -> ServiceSettings:
    fields = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256", "EdDSA"], "tenant_claim": "tenant"}
    (folder / "issuers.yaml").write_text(yaml.safe_dump({"issuers": [fields | issuer]}))
    (folder / "actor.key").write_text(ACTOR_KEY)
    given = {"issuers_file": folder / "issuers.yaml", "actor_key_file": folder / "actor.key"}
    return ServiceSettings.model_validate(given | more)


@asynccontextmanager
async def service(told: ServiceSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A service of one route, which says who asks."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        said = directory_of(tenant_changed(A), key_changed(KEY, "tenant", tenant_id=A))
        async with open_door(told, said, ManualClock(NOW)) as door:
            app.state.door = door
            yield

    async def ready() -> None:
        return None

    app = create_app("small", lifespan, ready=ready)

    @app.get("/v1/whoami")
    async def whoami(caller: Caller) -> dict[str, str | None]:
        return {"tenant": caller.tenant_id, "actor": caller.key_id}

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("10.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://small") as client,
    ):
        yield client


async def who(client: httpx.AsyncClient, authorization: str, **headers: str) -> httpx.Response:
    return await client.get("/v1/whoami", headers={"authorization": authorization} | headers)


async def test_a_key_set_is_fetched_over_tls_and_keys_and_tokens_are_taken_side_by_side(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "localhost")
    async with far_side(authority.server_context()) as provider:
        provider.says["/jwks"] = saying(jwks(EC))
        told = settings(
            tmp_path,
            {"jwks_url": f"https://localhost:{provider.port}/jwks"},
            outbound_allowed="127.0.0.0/8,::1/128",
            outbound_ca_file=authority.ca_file,
        )
        async with service(told) as client:
            by_token = await who(client, f"Bearer {signed(EC)}")
            by_key = await who(client, bearer(KEY))
            brought = {"jku": f"https://localhost:{provider.port}/other", "jwk": STRANGER.jwk}
            forged = await who(client, f"Bearer {signed(STRANGER, None, **brought)}")
    assert (by_token.status_code, by_token.json()["tenant"]) == (200, A)
    assert (by_key.status_code, by_key.json()) == (200, {"tenant": A, "actor": KEY.key_id})
    assert (forged.status_code, forged.json()["error"]) == (401, "unauthenticated")
    assert [head.split(" ")[1] for head in provider.heads] == ["/jwks"]  # once, and nothing that a token named


async def test_an_issuer_on_a_private_address_is_not_asked_unless_it_is_allowed(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "localhost")
    async with far_side(authority.server_context()) as provider:
        told = settings(
            tmp_path, {"jwks_url": f"https://localhost:{provider.port}/jwks"}, outbound_ca_file=authority.ca_file
        )
        async with service(told) as client:
            answer = await who(client, f"Bearer {signed(EC)}")
    assert (answer.status_code, answer.json()["error"]) == (503, "issuer_silent")
    assert provider.heads == []


async def test_without_a_network_the_keys_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(jwks(ED))
    async with service(settings(tmp_path, {"jwks_file": str(tmp_path / "keys.json")})) as client:
        assert (await who(client, f"Bearer {signed(ED)}")).json()["tenant"] == A


async def test_failures_are_limited_by_the_client_behind_a_trusted_proxy() -> None:
    async with service(ServiceSettings.model_validate({"trusted_proxies": "10.0.0.0/8"})) as client:
        wrong = [await who(client, "Bearer wrong", **{"x-forwarded-for": "198.51.100.7"}) for _ in range(61)]
        other = await who(client, "Bearer wrong", **{"x-forwarded-for": "198.51.100.8"})
    assert [answer.status_code for answer in wrong[58:]] == [401, 401, 429]
    assert wrong[60].json()["error"] == "too_many_attempts"
    assert int(wrong[60].headers["retry-after"]) == 1
    assert other.status_code == 401


@pytest.mark.parametrize("forwarded", ["198.51.100.7", "198.51.100.8"])
async def test_a_client_cannot_hide_its_failures_behind_a_header_of_its_own(forwarded: str) -> None:
    async with service(ServiceSettings()) as client:
        answers = [await who(client, "Bearer wrong", **{"x-forwarded-for": f"198.51.100.{n}"}) for n in range(60)]
        last = await who(client, "Bearer wrong", **{"x-forwarded-for": forwarded})
    assert {answer.status_code for answer in answers} == {401}
    assert last.status_code == 429
