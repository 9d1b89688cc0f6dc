from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from opentelemetry import metrics as otel

from libs.runtime import errors, metrics
from libs.runtime.metrics import Snapshot, start_metrics
from tests.unit.runtime.test_errors_become_problems import app_that_raises, client_of

QUEUES = Snapshot(otel.get_meter("test"), "test.queue.age", unit="s", description="how old a queue is")


@pytest.fixture(autouse=True, scope="module")
def provider() -> None:
    start_metrics("identity")


def shown(name: str) -> list[str]:
    """The lines of one metric, without the service that all carry."""
    lines = metrics.exposition().decode().splitlines()
    return [re.sub(r',?service_name="[a-z]+"', "", line) for line in lines if line.startswith(name + "{")]


async def answered(app: FastAPI, path: str) -> None:
    async with client_of(app) as client:
        await client.get(path)


async def test_a_request_is_measured_by_route_and_status_never_by_path() -> None:
    await answered(app_that_raises(errors.NotFound("no")), "/number/12345")

    lines = [one for one in shown("http_server_request_duration_seconds_count") if "/number/{n}" in one]

    assert [one for one in lines if 'http_response_status_code="200"' in one]
    assert "12345" not in metrics.exposition().decode()


async def test_a_path_that_no_route_serves_makes_no_label() -> None:
    await answered(app_that_raises(OSError()), "/made-up-by-a-scanner")

    assert "made-up-by-a-scanner" not in metrics.exposition().decode()


@pytest.mark.parametrize(
    "error", [errors.Unauthenticated("no"), errors.Forbidden("no"), errors.QuotaExceeded("no", limit="qps")]
)
async def test_a_denied_request_is_counted_by_its_code(error: errors.MaestroError) -> None:
    await answered(app_that_raises(error), "/thing")

    lines = [one for one in shown("maestro_http_denied_total") if f'code="{error.code}"' in one]

    assert [one for one in lines if f'status="{error.status}"' in one]
    assert bool([one for one in lines if 'limit="qps"' in one]) == (error.code == "quota_exceeded")


async def test_prometheus_is_answered_without_credentials_in_its_own_format() -> None:
    async with client_of(app_that_raises(OSError())) as client:
        response = await client.get("/metrics")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert re.search(r"^# TYPE ", response.text, re.MULTILINE)


def test_what_a_snapshot_no_longer_holds_is_no_longer_shown() -> None:
    QUEUES.replace("first", [({"queue": "a"}, 1.0), ({"queue": "b"}, 2.0)])
    QUEUES.replace("second", [({"queue": "c"}, 3.0)])

    QUEUES.replace("first", [({"queue": "b"}, 4.0)])

    assert {re.sub(r'[{},]|queue=|"', "", line.split("seconds")[1]) for line in shown("test_queue_age_seconds")} == {
        "b 4.0",
        "c 3.0",
    }


def test_what_is_not_known_any_more_is_not_shown() -> None:
    QUEUES.replace("third", [({"queue": "z"}, 1.0)])

    QUEUES.clear("third")

    assert not [line for line in shown("test_queue_age_seconds") if '"z"' in line]
