"""quota as it runs: its real wiring, over HTTP, on a database of its own and the session's Kafka and Valkey.

The fixtures are of a module and its event loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`. Only one quota
runs at a time: two on one broker would share a consumer group, as replicas of one service do.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from libs.access.keys import base32_id, new_key
from libs.access.scopes import DEFAULT_SCOPES
from libs.bus.envelope import event_message
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.schemas.events import EventModel, KeyKind, WindowTotalled
from libs.schemas.values import TenantId
from services.quota.app import create
from services.quota.settings import QuotaSettings
from tests.support.access import ENV, NOW, WHY, key_changed, tenant_changed
from tests.support.conditions import eventually
from tests.support.kafka import KafkaOf, kafka_settings
from tests.support.watched import watched

PATIENCE_MS = 500  # the machine that runs the tests is shared; how long the service itself waits is measured apart


def fresh_tenant_id() -> TenantId:
    """A tenant that no other test has."""
    return TenantId("tnt_" + base32_id(secrets.token_bytes, 13)[:20])


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """Serve the application over a real socket until the block ends, and give its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(watched(app), log_config=None, access_log=False, timeout_graceful_shutdown=5)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def has_started() -> bool:
        return server.started or serving.done()

    await eventually(has_started, "the server listens")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@dataclass(slots=True)
class Quota:
    """A running quota service, a client of it, and the voices of identity and metering."""

    app: FastAPI
    url: str
    client: httpx.AsyncClient
    bus: KafkaBus
    operator: str = ""

    async def call(self, method: str, path: str, key: str, body: object = None) -> httpx.Response:
        """Send a request with `key`."""
        return await self.client.request(method, path, json=body, headers=WHY | {"authorization": f"Bearer {key}"})

    async def check(self, key: str, **asked: object) -> httpx.Response:
        """Ask POST /v1/check, of `qps` unless `asked` says more."""
        return await self.call("POST", "/v1/check", key, {"limit": "qps"} | asked)

    async def put_plan(self, tenant_id: str, plan_id: str, **more: object) -> httpx.Response:
        """Put the tenant on a plan, as the operator."""
        return await self.call("PUT", f"/v1/tenants/{tenant_id}/plan", self.operator, {"plan_id": plan_id} | more)

    async def hear(self, topic: str, event: EventModel, key: str) -> None:
        """Let the service hear an event of another's."""
        await self.bus.publisher.publish([event_message(topic, event, key=key, event_id=uuid.uuid4(), at=NOW)])

    async def hear_of_storage(self, tenant_id: str, stored_bytes: int, **more: Any) -> None:
        """Let the service hear what a tenant stores."""
        fields: dict[str, Any] = {
            "tenant_id": tenant_id,
            "metric": "storage_gb",
            "window_start": NOW,
            "value": 0,
            "unit": "By.us",
            "last_gauge": stored_bytes,
            "store_epoch": 1,
            "seq": 1,
            "digest": "0" * 32,
            "region": "local-1",
        }
        await self.hear("usage-windows", WindowTotalled(**(fields | more)), tenant_id)

    async def new_tenant(self, plan_id: str = "starter") -> tuple[TenantId, str]:
        """Register a tenant and return its id and its key, once both and the tenant's plan work here."""
        tenant_id = fresh_tenant_id()
        tenant = tenant_changed(tenant_id, plan_id=plan_id, name=plan_id.title())
        await self.hear("tenant-changes", tenant, f"tenant/{tenant_id}")
        key = await self.new_key("tenant", tenant_id=tenant_id)

        async def has_plan() -> bool:
            return (await self.check(key, limit="storage_gb")).status_code != 503

        await eventually(has_plan, "the tenant's plan is known")
        return tenant_id, key

    async def new_key(self, kind: KeyKind, **more: object) -> str:
        """Make a key and return it, once it works here."""
        key = new_key(ENV, secrets.token_bytes)
        said = key_changed(key, kind, **({"scopes": DEFAULT_SCOPES[kind]} | more))
        await self.hear("tenant-changes", said, f"key/{key.key_id}")

        async def works() -> bool:
            return (await self.call("GET", "/v1/plans", key.text)).status_code == 200

        await eventually(works, "the key works")
        return key.text


@asynccontextmanager
async def running_quota(settings: QuotaSettings, operator: KafkaAccess) -> AsyncIterator[Quota]:
    """Run the service until the block ends; an operator's key is ready."""
    app = create(settings)
    bus = KafkaBus(operator, client_id="test")
    await bus.start()
    try:
        async with listening(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
            quota = Quota(app, url, client, bus)

            async def is_ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await eventually(is_ready, "quota answers 200 on /readyz", within_s=60)
            quota.operator = await quota.new_key("operator")
            yield quota
    finally:
        await bus.stop()


@pytest.fixture(scope="module")
def settings(
    module_database: Callable[..., str], kafka_of: KafkaOf, valkey_url: str, valkey_password_file: Path
) -> QuotaSettings:
    """Settings of a quota service on a database of its own."""
    return QuotaSettings(
        postgres_url=module_database("quota"),
        **kafka_settings(kafka_of("quota")),
        redis_url=valkey_url,
        redis_password_file=valkey_password_file,
        redis_patience_ms=PATIENCE_MS,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quota(settings: QuotaSettings, kafka: KafkaAccess) -> AsyncIterator[Quota]:
    """A running quota service."""
    async with running_quota(settings, kafka) as running:
        yield running
