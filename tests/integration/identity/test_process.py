"""identity as the supervisor runs it: a process of its own, stopped politely or killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from libs.bus.kafka import access_of
from tests.integration.identity.conftest import Deployment, Identity, write_operator_file
from tests.support.conditions import eventually
from tests.support.kafka import kafka_environment

CHECKOUT = Path(__file__).resolve().parents[3]
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0
GRACE_S = 10.0  # of a supervisor, before it kills
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def process_of(deployment: Deployment) -> AsyncIterator[tuple[asyncio.subprocess.Process, Identity]]:
    """Start identity as a process, wait until it is ready, and leave none behind."""
    port = free_port()
    told = {
        "MAESTRO_PORT": str(port),
        "MAESTRO_POSTGRES_URL": deployment.settings.postgres_url,
        **kafka_environment(access_of(deployment.settings)),
        "MAESTRO_OPERATOR_DIGEST_FILE": str(write_operator_file(deployment.folder, deployment.operator)),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.identity",
        cwd=CHECKOUT,
        env=os.environ | told,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await eventually(lambda: _is_ready(client), "the process is ready", within_s=READY_WITHIN_S, every_s=0.05)
            yield process, Identity(deployment.settings, client, deployment.operator.text)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_the_operators_key_works_as_soon_as_the_process_is_ready(deployment: Deployment) -> None:
    async with process_of(deployment) as (_, identity):
        assert (await identity.call("GET", "/v1/me")).status_code == 200


async def test_a_process_that_is_asked_to_stop_does(deployment: Deployment) -> None:
    async with process_of(deployment) as (process, _):
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)

    assert process.returncode in {0, -signal.SIGTERM}


async def test_a_request_that_is_still_open_when_the_drain_ends_is_told_to_come_again(deployment: Deployment) -> None:
    async with process_of(deployment) as (process, identity), begun_upload(identity) as reader:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(GRACE_S):
            head, _, body = (await reader.read()).decode().lower().partition("\r\n\r\n")

    assert head.startswith("http/1.1 503 ")
    assert {"content-type: application/problem+json", "retry-after: 1"} <= set(head.split("\r\n"))
    assert json.loads(body)["error"] == "unavailable"


@asynccontextmanager
async def begun_upload(identity: Identity) -> AsyncIterator[asyncio.StreamReader]:
    """Begin a request that the service waits for the body of, and send none."""
    url = identity.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = ("POST /v1/tenants HTTP/1.1", f"host: {url.host}", "expect: 100-continue", "content-length: 17", "", "")
    writer.write("\r\n".join(head).encode())
    try:
        assert await reader.readexactly(len(GO_ON)) == GO_ON  # so it was taken in, and is open now
        yield reader
    finally:
        writer.close()


async def test_what_was_answered_outlives_a_kill_and_is_told_by_the_next_process(deployment: Deployment) -> None:
    async with process_of(deployment) as (process, before):
        made = (await before.call("POST", "/v1/tenants", body={"name": "Acme"})).json()
        process.kill()

    async with process_of(deployment) as (_, after):
        me = await after.call("GET", "/v1/me", made["key"]["secret"])

    assert (me.status_code, me.json()["tenant_id"]) == (200, made["tenant"]["tenant_id"])
