from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from samples.hello_tenant.gateway.app import Settings, create_app
from tests.support.upstream import Answer, Upstream, attributes, serving

TENANT = "tnt_aaaaaaaaaaaaaaaaaaaa"
QUERY = {"query": "query Read($id: ID!) { document(id: $id) { title } }", "variables": {"id": "7"}}
SAMPLE = {"bytes": 12, "time": "2026-11-24T10:00:00.000001Z"}
ADMITTED = Answer(
    200,
    json.dumps(
        {"tenant": TENANT, "limit": "qps", "remaining": 9, "reset_s": 1, "plan": {"id": "starter", "version": 1}}
    ).encode(),
)
REFUSED = Answer(
    429,
    json.dumps({"error": "quota_exceeded", "status": 429, "retryAfter": 2, "tenant": TENANT, "limit": "qps"}).encode(),
    {"content-type": "application/problem+json", "retry-after": "2"},
)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving() as running:
        running.standing["/v1/check"] = ADMITTED
        running.standing["/api/v1/events"] = Answer(204)
        yield running


@pytest.fixture
def gateway(upstream: Upstream, tmp_path: Path) -> Iterator[TestClient]:
    key_file = tmp_path / "gateway.key"
    key_file.write_text("mst_test_gateway\n")
    settings = Settings("127.0.0.1", 0, upstream.url, upstream.url, key_file)
    with TestClient(create_app(settings), headers={"authorization": "Bearer mst_test_tenant"}) as client:
        yield client


def billable(upstream: Upstream) -> list[Span]:
    return [
        span
        for span in upstream.spans()
        if span.kind == Span.SPAN_KIND_SERVER and "graphql.operation.type" in attributes(span)
    ]


def flushed(gateway: TestClient) -> dict[str, int]:
    response: httpx.Response = gateway.post("/-/flush")
    counts: dict[str, int] = response.json()
    return counts


def test_a_call_is_executed_and_becomes_one_billable_span_of_its_tenant(
    gateway: TestClient, upstream: Upstream
) -> None:
    response = gateway.post("/graphql", json=QUERY)
    flushed(gateway)
    assert response.json() == {"data": {"document": {"title": "Document 7"}}}
    (span,) = billable(upstream)
    assert attributes(span)["graphql.operation.type"] == "query"
    assert attributes(span)["maestro.tenant.id"] == TENANT


def test_a_mutation_is_told_from_a_query(gateway: TestClient, upstream: Upstream) -> None:
    gateway.post("/graphql", json={"query": 'mutation { keep(id: "1") { id } }'})
    flushed(gateway)
    assert [attributes(span)["graphql.operation.type"] for span in billable(upstream)] == ["mutation"]


def test_a_refused_call_gets_the_quotas_own_document_and_is_not_billable(
    gateway: TestClient, upstream: Upstream
) -> None:
    upstream.queued["/v1/check"] = [REFUSED]
    response = gateway.post("/graphql", json=QUERY)
    flushed(gateway)
    assert (response.status_code, response.content) == (429, REFUSED.body)
    assert response.headers["retry-after"] == "2"
    assert billable(upstream) == []


@pytest.mark.parametrize("query", ["query {", "{ nothing }", "query A { document(id: 1) { id } } query B { x }"])
def test_a_call_that_cannot_be_executed_is_not_billable(gateway: TestClient, upstream: Upstream, query: str) -> None:
    response = gateway.post("/graphql", json={"query": query})
    flushed(gateway)
    assert response.status_code == 400
    assert billable(upstream) == []


def test_a_batch_is_checked_by_its_size_and_reported_once_with_its_own_id(
    gateway: TestClient, upstream: Upstream
) -> None:
    response = gateway.post("/ingest", json={"batch_id": "b-1", "events": [{}, {}, {}]})
    flushed(gateway)
    checks = [json.loads(one.body) for one in upstream.seen if one.path == "/v1/check"]
    assert response.status_code == 202
    assert {"limit": "events_s", "cost": 3, "tenant": TENANT} in checks
    (event,) = upstream.events()
    assert (event["id"], event["subject"], event["data"]) == ("batch/b-1", TENANT, {"maestro.ingest.events": 3})


def test_a_refused_batch_is_not_reported(gateway: TestClient, upstream: Upstream) -> None:
    upstream.queued["/v1/check"] = [ADMITTED, REFUSED]
    response = gateway.post("/ingest", json={"batch_id": "b-1", "events": [{}]})
    flushed(gateway)
    assert (response.status_code, response.content) == (429, REFUSED.body)
    assert upstream.events() == []


def test_a_storage_sample_is_reported_at_its_own_time(gateway: TestClient, upstream: Upstream) -> None:
    gateway.put("/storage/documents", json=SAMPLE)
    flushed(gateway)
    (event,) = upstream.events()
    assert event["time"] == "2026-11-24T10:00:00.000001+00:00"
    assert event["data"] == {"maestro.storage.resource": "documents", "maestro.storage.bytes": 12}


def test_the_same_sample_reported_twice_has_one_identity(gateway: TestClient, upstream: Upstream) -> None:
    gateway.put("/storage/documents", json=SAMPLE)
    gateway.put("/storage/documents", json=SAMPLE)
    flushed(gateway)
    assert len({(event["source"], event["id"]) for event in upstream.events()}) == 1


def test_without_an_answer_of_the_quota_nothing_is_served_and_nothing_billed(
    gateway: TestClient, upstream: Upstream
) -> None:
    upstream.standing["/v1/check"] = Answer(500)
    statuses = [gateway.post("/graphql", json=QUERY).status_code, gateway.put("/storage/a", json=SAMPLE).status_code]
    flushed(gateway)
    assert statuses == [503, 503]
    assert (billable(upstream), upstream.events()) == ([], [])


def test_the_gateway_says_what_became_of_all_usage(gateway: TestClient) -> None:
    gateway.post("/graphql", json=QUERY)
    gateway.put("/storage/documents", json=SAMPLE)
    assert flushed(gateway) == {
        "spans_exported": 3,
        "spans_failed": 0,
        "spans_dropped": 0,
        "spans_rejected": 0,
        "events_accepted": 1,
        "events_rejected": 0,
        "events_dropped": 0,
        "events_pending": 0,
    }


def test_its_health_needs_no_key(gateway: TestClient) -> None:
    assert gateway.get("/healthz", headers={"authorization": ""}).json() == {"status": "alive"}
