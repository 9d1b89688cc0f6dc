"""The HTTP API over the real store; the bus is the one in memory (the broker's own test is test_flow.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.access.keys import ApiKey
from libs.schemas.values import TenantId
from libs.signing.digests import sha256_hex
from libs.signing.keys import SigningKey
from tests.support.access import api_key, tenant_id
from tests.support.bus import furnished_memory
from tests.support.invoicing import (
    at,
    copied,
    period_closed,
    plan_changed,
    requested,
    signature_of,
    tenant_plan_changed,
    totalled,
)
from tests.support.invoicing_rows import FreshDatabase
from tests.support.invoicing_world import Json, World, invoicing_world

OPERATOR = api_key(1)
MINE, OTHERS = tenant_id(1), tenant_id(2)
MY_KEY = api_key(2)


@pytest.fixture
async def world(fresh_database: FreshDatabase) -> AsyncIterator[World]:
    async with invoicing_world(fresh_database("invoicing"), await furnished_memory()) as opened:
        await opened.know_tenant(MINE)
        await opened.know_tenant(OTHERS)
        await opened.operator(OPERATOR)
        await opened.know_key(MY_KEY, "tenant", tenant_id=MINE, scopes=("invoices:read",))
        await opened.until_known(OPERATOR, MINE, "2026-09")
        await opened.until_known(OPERATOR, OTHERS, "2026-09")
        yield opened


async def issued(world: World, tenant: TenantId, period: str = "2026-10") -> Json:
    """Close October of the tenant, who made a million calls, and return the close once it is issued."""
    close = (await world.close(OPERATOR, period, {"tenants": [tenant]})).json()["closes"][0]
    total = totalled("gql_calls", 0, 1_000_000, tenant=tenant)
    copy = copied("gql_calls", 0, 1_000_000, tenant=tenant)
    plan = tenant_plan_changed(("starter", 1, at(0))).model_copy(update={"tenant_id": tenant})
    await world.say("plan-changes", plan_changed(), key="plan/starter/1")
    await world.say("plan-changes", plan, key=f"tenant/{tenant}")
    await world.say("usage-windows", total, key=tenant)
    await world.say("usage-windows", period_closed([copy], close=requested(tenant)), key=tenant)
    return await world.until(OPERATOR, close["close_id"], "issued")


async def problem(world: World, path: str, key: ApiKey) -> tuple[int, str]:
    answer = await world.get(path, key)
    return answer.status_code, answer.json()["error"]


async def test_without_a_key_nothing_is_shown(world: World) -> None:
    an_id = requested(MINE).close_id
    for path in (
        "/invoices",
        "/closes",
        f"/closes/{an_id}",
        f"/invoices/{an_id}",
        f"/invoices/{an_id}/files/invoice.json",
    ):
        answer = await world.client.get(f"/v1{path}")
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthenticated"), path


async def test_a_tenant_closes_nothing(world: World) -> None:
    answer = await world.close(MY_KEY, "2026-10")
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


async def test_a_close_is_taken_down_and_says_what_it_waits_for(world: World) -> None:
    answer = await world.close(OPERATOR, "2026-10", {"tenants": [MINE]})
    close = answer.json()["closes"][0]
    assert answer.status_code == 202
    assert (close["tenant_id"], close["status"]) == (MINE, "requested")
    assert close["waits_for"].startswith("metering has not frozen the period")


async def test_a_close_without_a_body_is_of_all_tenants(world: World) -> None:
    closes = (await world.close(OPERATOR, "2026-10")).json()["closes"]
    assert [close["tenant_id"] for close in closes] == [MINE, OTHERS]


async def test_the_same_period_again_is_the_same_close(world: World) -> None:
    first = await world.close(OPERATOR, "2026-10", {"tenants": [MINE]})
    second = await world.close(OPERATOR, "2026-10", {"tenants": [MINE]})
    assert first.json() == second.json()
    said = [event.period for event, _ in await world.closes_asked(MINE)]
    assert said == ["2026-09", "2026-10"]


async def test_a_repeated_idempotency_key_gets_the_first_answer(world: World) -> None:
    headers = {"idempotency-key": "october"}
    first = await world.close(OPERATOR, "2026-10", {"tenants": [MINE]}, **headers)
    await issued(world, MINE)
    second = await world.close(OPERATOR, "2026-10", {"tenants": [MINE]}, **headers)
    assert (second.status_code, second.content) == (202, first.content)
    assert second.headers["idempotency-replayed"] == "true"


async def test_an_idempotency_key_with_another_body_is_refused(world: World) -> None:
    headers = {"idempotency-key": "october"}
    await world.close(OPERATOR, "2026-10", {"tenants": [MINE]}, **headers)
    answer = await world.close(OPERATOR, "2026-10", {"tenants": [OTHERS]}, **headers)
    assert (answer.status_code, answer.json()["error"]) == (422, "idempotency_key_reused")


async def test_a_close_that_cannot_be_is_refused_with_its_reason(world: World) -> None:
    refusals: list[tuple[str, Json | None, int, str]] = [
        ("2026-11", None, 409, "period_not_over"),
        ("2026-12", {"early": True}, 409, "period_not_started"),
        ("1999-01", {"tenants": [MINE]}, 409, "period_before_tenant"),
        ("2026-13", None, 400, "bad_period"),
        ("october", None, 400, "bad_period"),
        ("2026-10", {"tenants": [tenant_id(9)]}, 404, "unknown_tenant"),
        ("2026-10", {"tenants": ["acme"]}, 400, "malformed"),
        ("2026-10", {"tenants": []}, 400, "malformed"),
        ("2026-10", {"tenant": [MINE]}, 400, "malformed"),
    ]
    for period, body, status, error in refusals:
        answer = await world.close(OPERATOR, period, body)
        assert (answer.status_code, answer.json()["error"]) == (status, error), (period, body)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_period_that_is_not_over_is_closed_early_on_demand(world: World) -> None:
    answer = await world.close(OPERATOR, "2026-11", {"tenants": [MINE], "early": True})
    assert (answer.status_code, answer.json()["closes"][0]["early"]) == (202, True)


async def test_a_tenant_follows_its_own_closes_and_no_others(world: World) -> None:
    await world.close(OPERATOR, "2026-10")
    seen = (await world.get("/v1/closes", MY_KEY)).json()["items"]
    assert {close["tenant_id"] for close in seen} == {MINE}


async def test_another_tenants_close_looks_like_one_that_is_not_there(world: World) -> None:
    await world.close(OPERATOR, "2026-10")
    theirs = await problem(world, f"/v1/closes/{requested(OTHERS).close_id}", MY_KEY)
    nobodys = await problem(world, f"/v1/closes/{requested(tenant_id(9)).close_id}", MY_KEY)
    assert theirs[0] == nobodys[0] == 404


async def test_closes_page_by_cursor_without_loss_or_repeat(world: World) -> None:
    await world.close(OPERATOR, "2026-10")
    first = (await world.get("/v1/closes?limit=3", OPERATOR)).json()
    second = (await world.get(f"/v1/closes?limit=3&cursor={first['next_cursor']}", OPERATOR)).json()
    ids = [close["close_id"] for close in (*first["items"], *second["items"])]
    assert (len(ids), len(set(ids)), second["next_cursor"]) == (4, 4, None)


async def test_invoices_page_by_cursor_and_narrow_by_period_and_tenant(world: World) -> None:
    await issued(world, MINE)
    await issued(world, OTHERS)
    first = (await world.get("/v1/invoices?limit=1", OPERATOR)).json()
    second = (await world.get(f"/v1/invoices?limit=1&cursor={first['next_cursor']}", OPERATOR)).json()
    numbers = sorted(page["items"][0]["number"] for page in (first, second))
    assert numbers == ["MST-000001", "MST-000002"]
    assert (await world.get("/v1/invoices?period=2026-09", OPERATOR)).json()["items"] == []
    mine = (await world.get(f"/v1/invoices?tenant={MINE}&period=2026-10", OPERATOR)).json()["items"]
    assert [invoice["tenant_id"] for invoice in mine] == [MINE]


@pytest.mark.parametrize("query", ["period=2026-13", "period=%00", "tenant=%00", "tenant=acme"])
async def test_a_list_is_narrowed_by_what_can_be_a_month_and_a_tenant(world: World, query: str) -> None:
    assert await problem(world, f"/v1/invoices?{query}", OPERATOR) == (400, "malformed")


async def test_a_cursor_that_is_not_ours_is_refused(world: World) -> None:
    assert await problem(world, "/v1/invoices?cursor=bm9uc2Vuc2U", OPERATOR) == (400, "malformed_cursor")


async def test_an_invoice_says_what_it_costs_and_where_its_files_are(world: World) -> None:
    close = await issued(world, MINE)
    invoice = (await world.get(f"/v1/invoices/{close['invoice_id']}", MY_KEY)).json()
    assert (invoice["number"], invoice["totals"]["total"], invoice["status"]) == ("MST-000001", "2.00", "issued")
    assert (invoice["period_start"], invoice["period_end"]) == ("2026-10-01", "2026-11-01")
    assert [file["name"] for file in invoice["files"]] == ["invoice.csv", "invoice.json", "manifest.json"]
    assert (await world.get(invoice["files"][0]["url"], MY_KEY)).status_code == 200


async def test_a_file_comes_as_it_was_made_under_its_digest(world: World) -> None:
    close = await issued(world, MINE)
    answer = await world.get(f"/v1/invoices/{close['invoice_id']}/files/invoice.csv", MY_KEY)
    assert answer.headers["etag"] == f'"{sha256_hex(answer.content)}"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="invoice.csv"'
    assert answer.content.count(b"\r\n") == 4


async def test_a_file_that_the_caller_has_is_not_sent_again(world: World) -> None:
    close = await issued(world, MINE)
    path = f"/v1/invoices/{close['invoice_id']}/files/invoice.json"
    etag = (await world.get(path, MY_KEY)).headers["etag"]
    answer = await world.get(path, MY_KEY, **{"if-none-match": etag})
    assert (answer.status_code, answer.content) == (304, b"")


async def test_the_bundle_is_not_there_until_the_manifest_is_signed(world: World) -> None:
    close = await issued(world, MINE)
    path = f"/v1/invoices/{close['invoice_id']}/files/manifest.json.sigstore.json"
    assert await problem(world, path, MY_KEY) == (404, "not_signed_yet")
    assert close["waits_for"] == "evidence has not signed the manifest"

    key = SigningKey.generate()
    ((said, _),) = await world.invoices_said(MINE)
    event = signature_of(said, key)
    await world.say("evidence-entries", event, key=MINE)
    signed = await world.until(MY_KEY, close["close_id"], "signed")

    answer = await world.get(path, MY_KEY)
    assert answer.content == event.bundle.encode()
    assert answer.headers["content-type"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert signed["waits_for"] is None


async def test_a_file_that_no_invoice_has_is_not_found(world: World) -> None:
    close = await issued(world, MINE)
    path = f"/v1/invoices/{close['invoice_id']}/files/invoice.pdf"
    assert await problem(world, path, MY_KEY) == (404, "unknown_file")


async def test_another_tenants_invoice_looks_like_one_that_is_not_there(world: World) -> None:
    close = await issued(world, OTHERS)
    for suffix in ("", "/files/invoice.json", "/files/manifest.json.sigstore.json", "/files/none"):
        status, _ = await problem(world, f"/v1/invoices/{close['invoice_id']}{suffix}", MY_KEY)
        assert status == 404, suffix


async def test_a_tenants_list_holds_no_other_tenants_invoice(world: World) -> None:
    await issued(world, OTHERS)
    assert (await world.get("/v1/invoices", MY_KEY)).json()["items"] == []
    assert (await world.get(f"/v1/invoices?tenant={OTHERS}", MY_KEY)).status_code == 404


async def test_a_tenants_own_requests_never_reach_past_its_rows(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    close_id = (await issued(world, MINE))["close_id"]
    caplog.clear()

    answers = [await world.get(path, MY_KEY) for path in ("/v1/closes", f"/v1/closes/{close_id}", "/v1/invoices")]
    invoice = answers[2].json()["items"][0]
    answers += [await world.get(file["url"], MY_KEY) for file in invoice["files"]]

    assert {answer.status_code for answer in answers} == {200}
    assert [record for record in caplog.records if "across tenants" in record.getMessage()] == []


async def test_what_an_operator_asks_over_all_tenants_is_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await world.get("/v1/invoices", OPERATOR)

    [line] = [record for record in caplog.records if "across tenants" in record.getMessage()]
    assert (line.getMessage(), vars(line)["actor"]) == ("across tenants: invoices are listed", OPERATOR.key_id)
