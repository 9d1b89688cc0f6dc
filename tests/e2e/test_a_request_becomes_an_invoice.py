"""From a request to a signed invoice: one trace, and no trace of usage that was sent in another tenant's name."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import defaultdict
from typing import Any, TypeAlias

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import Record, TopicPartition
from libs.runtime.settings import ServiceSettings
from libs.schemas.events import CloseRequested, InvoiceIssued, ManifestSigned, PeriodClosed
from samples.hello_tenant.maestro_http import Tenant
from samples.hello_tenant.steps import Cast, Scene
from services.metering.cli import main
from tests.support.forgeries import forged, naming, nobody
from tests.support.otlp_grpc import EXPORT, WITHIN_S
from tests.support.plays import Ending, Play, perform, steady
from tests.support.whole_stack import WholeStack

FORGED_EVENTS = 1_000
Call: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"
WAY = {
    "close-requests": CloseRequested.TYPE,
    "usage-windows": PeriodClosed.TYPE,
    "invoices": InvoiceIssued.TYPE,
    "evidence-entries": ManifestSigned.TYPE,
}


def over_http(scene: Scene, key: str, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    """Export spans as the holder of a key."""
    response = httpx.post(
        f"{scene.stack.metering}/v1/traces",
        content=request.SerializeToString(),
        headers={"authorization": f"Bearer {key}", "content-type": "application/x-protobuf"},
        trust_env=False,
    )
    assert response.is_success, response.text
    return ExportTraceServiceResponse.FromString(response.content)


def over_grpc(stack: WholeStack, key: str, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    """Export spans as the holder of a key, by the other door."""
    address = stack.part("metering").also_at.removeprefix("OTLP/gRPC ")
    with grpc.insecure_channel(address) as channel:
        export: Call = channel.unary_unary(EXPORT)
        answer = export(request.SerializeToString(), timeout=WITHIN_S, metadata=(("authorization", f"Bearer {key}"),))
    return ExportTraceServiceResponse.FromString(answer)


def send_event(scene: Scene, key: str, tenant: Tenant) -> httpx.Response:
    """Send one CloudEvent in the name of `tenant`."""
    event = {
        "specversion": "1.0",
        "id": secrets.token_hex(8),
        "source": "https://hello-tenant.example/gateway",
        "type": "example.hello.batch_ingested",
        "subject": tenant.tenant_id,
        "data": {"maestro.ingest.events": FORGED_EVENTS},
    }
    headers = {"authorization": f"Bearer {key}", "content-type": "application/cloudevents+json"}
    return httpx.post(f"{scene.stack.metering}/api/v1/events", json=event, headers=headers, trust_env=False)


def move_to_pro(scene: Scene, stack: WholeStack, tenant: Tenant) -> str:
    """Put the tenant on another plan, saying why; return its id."""
    headers = {"authorization": f"Bearer {scene.stack.operator_key}", "maestro-reason": "signed contract 7"}
    url = f"{scene.stack.quota}/v1/tenants/{tenant.tenant_id}/plan"

    def is_moved() -> bool:  # 503 until quota has heard of the tenant
        return httpx.put(url, json={"plan_id": "pro"}, headers=headers, trust_env=False).is_success

    stack.wait_for(is_moved, "the tenant is on its new plan")
    return tenant.tenant_id


@pytest.fixture(scope="module")
def forgeries() -> dict[str, Any]:
    return {"sent": 0, "rejected": 0}


@pytest.fixture(scope="module")
def ending(stack: WholeStack, forgeries: dict[str, Any]) -> Ending:
    def forge(scene: Scene, cast: Cast) -> None:
        mine, yours, _ = cast.tenants
        stranger = scene.maestro.create_tenant("stranger to the gateway", "starter")
        by_tenant = naming(mine.tenant_id, yours.tenant_id)
        by_gateway = [*naming(mine.tenant_id, stranger.tenant_id), *nobody(yours.tenant_id)]
        for key, tricks in ((mine.key, by_tenant), (cast.gateway_key, by_gateway)):
            forgeries["sent"] += 2 * len(tricks)
            for answer in (over_http(scene, key, forged(tricks)), over_grpc(stack, key, forged(tricks))):
                forgeries["rejected"] += answer.partial_success.rejected_spans
        forgeries["event"] = send_event(scene, mine.key, yours)
        forgeries["moved"] = move_to_pro(scene, stack, stranger)

    stack.wait_until_ready()
    return perform(stack, steady(0.1), Play(during={}, before_close=forge))


def test_usage_in_another_tenants_name_is_rejected_to_the_last_span(ending: Ending, forgeries: dict[str, Any]) -> None:
    assert ending.invoices
    assert forgeries["rejected"] == forgeries["sent"] > 0
    assert "wrong_tenant" in forgeries["event"].text


def test_usage_in_another_tenants_name_changes_no_invoice(ending: Ending) -> None:
    assert [str(difference) for difference in ending.ledger.differences] == []
    assert ending.ledger.balances


def test_one_trace_leads_from_the_close_request_to_the_signed_invoice(ending: Ending, stack: WholeStack) -> None:
    tenants = {tenant.tenant_id for tenant in ending.cast.tenants}
    seen = asyncio.run(traces_of(stack.kafka, tenants))
    assert seen == {(topic, tenant): {ending.trace_id} for topic in WAY for tenant in tenants}


def test_what_people_changed_at_three_services_is_in_the_record_of_one(
    ending: Ending, forgeries: dict[str, Any], stack: WholeStack
) -> None:
    ours = {tenant.tenant_id for tenant in ending.cast.tenants}
    wanted = {("invoicing", "close.requested", tenant) for tenant in ours}
    wanted |= {("identity", action, tenant) for tenant in ours for action in ("tenant.registered", "key.issued")}
    wanted |= {("quota", "plan.assigned", forgeries["moved"])}
    stack.wait_for(lambda: wanted <= set(changes_of(stack)), "all changes are in the record")
    of_tenant = [change for change in entries_of(stack) if change["tenant_id"] == forgeries["moved"]]
    [moved] = [change for change in of_tenant if change["action"] == "plan.assigned"]
    assert moved["actor"] == stack.addresses.operator_key.split("_")[2]
    assert (moved["reason"], moved["details"]["plan"]) == ("signed contract 7", "pro/1")


def test_an_event_is_followed_to_the_line_of_its_invoice(
    ending: Ending, stack: WholeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    bill = json.loads((ending.invoices[0].folder / "invoice.json").read_text("utf-8"))
    tenant, span = ending.invoices[0].tenant, span_of(bill["period"])
    at = ["--url", stack.addresses.metering, "--key-file", str(stack.places.operator_key)]
    asked = ["events", "gql_calls", "--tenant", tenant.tenant_id, *span, *at]

    def is_whole() -> bool:
        assert main(asked, lambda _: ServiceSettings()) == 0
        return "they agree" in capsys.readouterr().out

    stack.wait_for(is_whole, "all events behind the total are archived")
    assert main([*asked, "--json"], lambda _: ServiceSettings()) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[0])
    to_bill = ["--tenant", tenant.tenant_id, *at, "--invoicing-url", stack.addresses.invoicing]
    assert main(["explain", event["source"], event["id"], *to_bill, "--json"], lambda _: ServiceSettings()) == 0
    said = json.loads(capsys.readouterr().out)
    [line] = said["invoice_lines"]
    [billed] = [one for one in bill["lines"] if one["metric"] == "gql_calls"]
    assert (line["invoice"], line["line"], line["amount"]) == (bill["number"], billed["line"], billed["amount"])
    assert main(["explain", event["source"], event["id"], *to_bill], lambda _: ServiceSettings()) == 0
    shown = capsys.readouterr().out
    assert "meter      gql_calls took 1" in shown
    assert f"invoice    {line['invoice']}, line {line['line']}: gql_calls" in shown


def span_of(period: dict[str, str]) -> list[str]:
    """Return the arguments that name all of a period."""
    return ["--from", period["starts_at"], "--to", period["ends_at"]]


def entries_of(stack: WholeStack) -> list[dict[str, Any]]:
    """Return the newest entries of the record of changes, as evidence shows them to the operator."""
    headers = {"authorization": f"Bearer {stack.addresses.operator_key}"}
    answer = httpx.get(f"{stack.addresses.evidence}/v1/audit?limit=500", headers=headers, trust_env=False)
    entries: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return entries


def changes_of(stack: WholeStack) -> list[tuple[str, str, str | None]]:
    return [(entry["service"], entry["action"], entry["tenant_id"]) for entry in entries_of(stack)]


async def traces_of(kafka: KafkaAccess, tenants: set[str]) -> dict[tuple[str, str], set[str]]:
    """Return the trace ids in the headers of the events of WAY, by topic and tenant."""
    traces: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    bus = KafkaBus(kafka, client_id="test")
    await bus.start()
    try:
        for topic, event_type in WAY.items():
            for record in await all_records(bus, topic):
                tenant = (record.key or b"").decode()
                if tenant in tenants and record.header("ce_type") == event_type.encode():
                    traces[topic, tenant].add((record.header("traceparent") or b"").decode().split("-")[1])
    finally:
        await bus.stop()
    return dict(traces)


async def all_records(bus: KafkaBus, topic: str) -> list[Record]:
    """Return everything that the topic holds now."""
    reader = bus.reader(topic)
    left = {TopicPartition(topic, partition): end for partition, end in (await reader.start()).items() if end}
    records: list[Record] = []
    while left:
        fetched = await reader.poll()
        records += fetched.records
        left = {place: end for place, end in left.items() if fetched.positions.get(place, 0) < end}
    await reader.stop()
    return records
