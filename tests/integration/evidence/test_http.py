"""The HTTP interface of evidence over a real database: who sees what, and what is answered."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from libs.access.keys import ApiKey
from libs.access.scopes import DEFAULT_SCOPES
from libs.runtime.clock import ManualClock
from libs.runtime.web import create_app
from libs.signing.bundle import BUNDLE_BYTES_MAX, MEDIA_TYPE, sign_blob, verify_blob
from libs.signing.keys import PublicKey, SigningKey
from libs.signing.manifest import MANIFEST_BYTES_MAX
from libs.store.opening import Pools
from libs.store.pool import Pool, transaction
from services.evidence.api import router
from services.evidence.handlers import Reading, Signer, adopt_key
from services.evidence.store.objects import ObjectStore
from tests.support.access import NOW, api_key, bearer, door_of, key_changed, tenant_changed
from tests.support.issued_invoices import OTHER_TENANT, TENANT, issued_invoice, received
from tests.support.watched import watched

OWN, OTHER, OPERATOR, BLIND = (api_key(seed) for seed in range(4))
SCOPES = DEFAULT_SCOPES["tenant"]


@dataclass
class Service:
    """Evidence's HTTP interface, with two invoices of one tenant and one of another signed."""

    client: httpx.AsyncClient

    async def get(self, path: str, key: ApiKey = OWN) -> httpx.Response:
        return await self.client.get(path, headers={"authorization": bearer(key)})

    async def judge(self, manifest: bytes, bundle: bytes | str) -> httpx.Response:
        text = bundle if isinstance(bundle, str) else bundle.decode()
        return await self.judge_raw({"manifest": base64.b64encode(manifest).decode(), "bundle": text})

    async def judge_raw(self, body: dict[str, Any]) -> httpx.Response:
        headers = {"authorization": bearer(OWN), "content-type": "application/json"}
        return await self.client.post("/v1/verify", content=json.dumps(body), headers=headers)


async def serving(reading: Reading) -> FastAPI:
    async def ready() -> None:
        app.state.door._directory.require_ready()

    app = create_app("evidence", lambda _: _nothing(), ready=ready)
    app.include_router(router)
    app.state.reading = reading
    app.state.door = door_of(
        tenant_changed(TENANT),
        tenant_changed(OTHER_TENANT),
        key_changed(OWN, "tenant", tenant_id=TENANT, scopes=SCOPES),
        key_changed(OTHER, "tenant", tenant_id=OTHER_TENANT, scopes=SCOPES),
        key_changed(OPERATOR, "operator", scopes=SCOPES),
        key_changed(BLIND, "tenant", tenant_id=TENANT, scopes=("usage:write",)),
    )
    return app


def _nothing() -> Any:
    raise AssertionError("nothing is started in these tests")


@pytest.fixture
async def service(pools: Pools, pool: Pool, key: SigningKey, objects: ObjectStore) -> AsyncIterator[Service]:
    await adopt_key(pool, key.public, replaces="")
    signer = Signer(key, objects, ManualClock(NOW))
    for invoice in (issued_invoice(), issued_invoice("MST-000002"), issued_invoice("MST-9", tenant_id=OTHER_TENANT)):
        async with transaction(pool) as tx:
            await signer.on_invoice_issued(tx, received(invoice))
    transport = httpx.ASGITransport(watched(await serving(Reading(pools, objects))), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://evidence") as client:
        yield Service(client)


def numbers(answer: httpx.Response) -> list[str]:
    return sorted(item["number"] for item in answer.json()["items"])


async def test_a_tenant_lists_its_own_artifacts_and_no_others(service: Service) -> None:
    answer = await service.get("/v1/artifacts")

    assert numbers(answer) == ["MST-000001", "MST-000002"]
    assert {item["tenant_id"] for item in answer.json()["items"]} == {TENANT}


async def test_an_operator_lists_all_or_one_tenants(service: Service) -> None:
    assert len(numbers(await service.get("/v1/artifacts", OPERATOR))) == 3
    assert numbers(await service.get(f"/v1/artifacts?tenant_id={OTHER_TENANT}", OPERATOR)) == ["MST-9"]


async def test_a_tenant_that_asks_for_anothers_list_gets_404(service: Service) -> None:
    answer = await service.get(f"/v1/artifacts?tenant_id={OTHER_TENANT}")

    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_pages_follow_each_other_by_cursor_without_gap_or_overlap(service: Service) -> None:
    first = await service.get("/v1/artifacts?limit=2", OPERATOR)
    second = await service.get(f"/v1/artifacts?limit=2&cursor={first.json()['next_cursor']}", OPERATOR)

    assert sorted(numbers(first) + numbers(second)) == ["MST-000001", "MST-000002", "MST-9"]
    assert second.json()["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["x", "WyJub3cgIiwgImIiXQ", "WyIyMDI2LTExLTAxIiwiYiJd"])
async def test_a_cursor_that_we_did_not_give_out_is_refused(service: Service, cursor: str) -> None:
    answer = await service.get(f"/v1/artifacts?cursor={cursor}")

    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_cursor")


async def test_the_manifest_comes_back_byte_for_byte(service: Service) -> None:
    invoice = issued_invoice()

    answer = await service.get(f"/v1/artifacts/{invoice.manifest_sha}")

    assert answer.content == base64.b64decode(invoice.manifest)
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'


async def test_an_upper_case_digest_names_the_same_artifact(service: Service) -> None:
    answer = await service.get(f"/v1/artifacts/{issued_invoice().manifest_sha.upper()}")

    assert answer.status_code == 200


async def test_the_bundle_verifies_with_the_key_that_the_service_publishes(service: Service) -> None:
    digest = issued_invoice().manifest_sha
    manifest, bundle = await service.get(f"/v1/artifacts/{digest}"), await service.get(f"/v1/artifacts/{digest}/bundle")
    trust = (await service.client.get("/v1/trust")).json()

    published = PublicKey.from_pem(trust["keys"][0]["public_key_pem"].encode())

    assert bundle.headers["content-type"] == MEDIA_TYPE
    assert verify_blob(manifest.content, bundle.content, [published]) == published
    assert (trust["keys"][0]["fingerprint"], trust["keys"][0]["is_in_force"]) == (published.fingerprint, True)


@pytest.mark.parametrize("suffix", ["", "/bundle"])
async def test_anothers_artifact_and_an_absent_one_look_alike(service: Service, suffix: str) -> None:
    theirs = await service.get(f"/v1/artifacts/{issued_invoice().manifest_sha}{suffix}", OTHER)
    absent = await service.get(f"/v1/artifacts/{'0' * 64}{suffix}", OTHER)

    assert theirs.status_code == absent.status_code == 404
    assert theirs.json()["detail"] == absent.json()["detail"]
    assert theirs.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("digest", ["..", "a", "g" * 64, "0" * 65, "%2e%2e%2f%2e%2e%2fetc%2fpasswd"])
async def test_what_is_no_digest_names_nothing(service: Service, digest: str) -> None:
    assert (await service.get(f"/v1/artifacts/{digest}")).status_code in (404, 307)


@pytest.mark.parametrize("path", ["/v1/artifacts", f"/v1/artifacts/{'0' * 64}", f"/v1/artifacts/{'0' * 64}/bundle"])
async def test_without_a_good_key_nothing_is_answered(service: Service, path: str) -> None:
    assert (await service.client.get(path)).status_code == 401
    assert (await service.get(path, api_key(99))).status_code == 401
    assert (await service.get(path, BLIND)).status_code == 403


async def test_a_damaged_file_is_never_given_out(service: Service, objects: ObjectStore) -> None:
    path = objects.path_of(issued_invoice().manifest_sha)
    path.chmod(0o644)
    path.write_bytes(b"rot")

    answer = await service.get(f"/v1/artifacts/{issued_invoice().manifest_sha}")

    assert (answer.status_code, answer.json()["error"]) == (500, "object_corrupted")


async def test_a_good_signature_is_judged_good(service: Service, key: SigningKey) -> None:
    manifest = base64.b64decode(issued_invoice().manifest)

    answer = (await service.judge(manifest, sign_blob(manifest, key))).json()

    assert answer["verified"] is True
    assert answer["key_fingerprint"] == key.public.fingerprint
    assert answer["subject"]["number"] == "MST-000001"
    assert [entry["name"] for entry in answer["files"]] == ["invoice.csv", "invoice.json"]


async def test_a_forged_signature_is_an_answer_and_not_an_error(service: Service) -> None:
    manifest = base64.b64decode(issued_invoice().manifest)

    answer = await service.judge(manifest, sign_blob(manifest, SigningKey.generate()))

    assert answer.status_code == 200
    assert (answer.json()["verified"], answer.json()["error"]) == (False, "unknown_key")


async def test_a_changed_manifest_is_judged_bad(service: Service, key: SigningKey) -> None:
    manifest = base64.b64decode(issued_invoice().manifest)

    answer = await service.judge(manifest.replace(b"2026-10", b"2026-09"), sign_blob(manifest, key))

    assert (answer.json()["verified"], answer.json()["error"]) == (False, "signature_mismatch")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"manifest": "***", "bundle": ""},
        {"manifest": "AAAA", "bundle": "", "key": "mine"},
        {"manifest": "AAAA", "bundle": None},
        {"manifest": "AAAA", "bundle": "\ud800"},
    ],
)
async def test_a_question_of_another_shape_is_refused(service: Service, body: dict[str, Any]) -> None:
    answer = await service.judge_raw(body)

    assert (answer.status_code, answer.json()["error"]) == (400, "malformed")


@pytest.mark.parametrize("bundle", ["", "{}", "[" * 1000])
async def test_a_bundle_that_cannot_be_read_is_judged_bad(service: Service, bundle: str) -> None:
    answer = await service.judge_raw({"manifest": issued_invoice().manifest, "bundle": bundle})

    assert (answer.status_code, answer.json()["verified"]) == (200, False)


async def test_a_question_past_the_bound_is_refused_unread(service: Service) -> None:
    answer = await service.judge(b"x" * (MANIFEST_BYTES_MAX + 1), "x" * (3 * BUNDLE_BYTES_MAX))

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_judging_needs_a_key_and_the_scope(service: Service) -> None:
    body = {"manifest": "AAAA", "bundle": ""}

    unknown = await service.client.post("/v1/verify", json=body)
    blind = await service.client.post("/v1/verify", json=body, headers={"authorization": bearer(BLIND)})

    assert (unknown.status_code, blind.status_code) == (401, 403)
