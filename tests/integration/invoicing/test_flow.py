"""From the request to the signed folder, on a real database and a real broker; the other services are their events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from libs.access.keys import ApiKey
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import Record
from libs.schemas.values import TenantId
from libs.signing.folder import verify_folder
from libs.signing.keys import SigningKey
from tests.support.access import api_key
from tests.support.conditions import eventually
from tests.support.invoicing import TRACEPARENT, requested, signature_of
from tests.support.invoicing_rows import FreshDatabase
from tests.support.invoicing_world import World, fresh_tenant_id, invoicing_world, metered, until_taken

TRACE_ID = TRACEPARENT.split("-")[1]


@pytest.fixture
def tenant() -> TenantId:
    return fresh_tenant_id()


@pytest.fixture
def operator() -> ApiKey:
    return api_key(uuid4().int)


@pytest.fixture
async def world(fresh_database: FreshDatabase, kafka: KafkaAccess, operator: ApiKey) -> AsyncIterator[World]:
    bus = KafkaBus(kafka, client_id="test")
    async with invoicing_world(fresh_database("invoicing"), bus) as opened:
        await opened.operator(operator)
        yield opened


async def evidence_signs(world: World, tenant: TenantId, key: SigningKey, *, times: int = 1) -> None:
    """Evidence signs what was announced."""
    ((said, _),) = await world.invoices_said(tenant)
    await world.say("evidence-entries", signature_of(said, key), key=tenant, times=times)


def trace_of(record: Record) -> str:
    traceparent = record.header("traceparent")
    assert traceparent is not None
    return traceparent.decode().split("-")[1]


async def test_a_request_becomes_a_folder_that_a_stranger_can_verify(
    world: World, tenant: TenantId, operator: ApiKey, tmp_path: Path
) -> None:
    await world.know_tenant(tenant)
    close = await world.until_known(operator, tenant, "2026-10")
    await metered(world, tenant)
    await world.until(operator, close["close_id"], "issued")
    key = SigningKey.generate()

    await evidence_signs(world, tenant, key)
    done = await world.until(operator, close["close_id"], "signed")

    invoice = (await world.get(f"/v1/invoices/{done['invoice_id']}", operator)).json()
    for file in invoice["files"]:
        (tmp_path / file["name"]).write_bytes((await world.get(file["url"], operator)).content)
    report = verify_folder(tmp_path, [key.public])
    assert report.is_verified
    assert len(invoice["files"]) == 4
    assert invoice["totals"]["total"] == "2.48"


async def test_one_trace_leads_from_the_request_to_the_invoice(
    world: World, tenant: TenantId, operator: ApiKey
) -> None:
    await world.know_tenant(tenant)

    async def accepted() -> bool:
        answer = await world.close(operator, "2026-10", {"tenants": [tenant]}, traceparent=TRACEPARENT)
        return answer.status_code == 202

    await eventually(accepted, "the close is accepted")
    ((_, asked),) = await world.closes_asked(tenant)
    await metered(world, tenant)
    await world.until(operator, str(requested(tenant).close_id), "issued")
    ((_, said),) = await world.invoices_said(tenant)
    assert (trace_of(asked), trace_of(said)) == (TRACE_ID, TRACE_ID)


async def test_everything_said_three_times_makes_one_close_and_one_invoice(
    world: World, tenant: TenantId, operator: ApiKey
) -> None:
    await world.know_tenant(tenant)
    close = await world.until_known(operator, tenant, "2026-10")
    await metered(world, tenant, times=3)
    await world.until(operator, close["close_id"], "issued")
    await evidence_signs(world, tenant, SigningKey.generate(), times=3)
    await world.until(operator, close["close_id"], "signed")
    await metered(world, tenant)  # said anew by a producer that forgot: other sequences, the same content
    await until_taken(world, tenant)
    counts = {
        table: await world.pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
        for table in ("close", "frozen_close", "frozen_window", "invoices", "invoice_file", "waiting_close")
    }
    assert counts == {
        "close": 1,
        "frozen_close": 1,
        "frozen_window": 2,
        "invoices": 1,
        "invoice_file": 4,
        "waiting_close": 0,
    }
    assert len(await world.invoices_said(tenant)) == 1
    assert len(await world.closes_asked(tenant)) == 1
