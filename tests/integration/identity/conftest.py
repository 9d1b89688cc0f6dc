"""identity as it runs: its real wiring over a database of its own and the session's Kafka."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from libs.access.keys import ApiKey, new_key
from libs.bus.envelope import event_message
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.schemas.events import Limits, PlanChanged, PriceMap
from services.identity.app import create
from services.identity.settings import IdentitySettings
from tests.support.access import ENV, NOW, WHY
from tests.support.conditions import eventually
from tests.support.kafka import KafkaOf, kafka_settings
from tests.support.served import served
from tests.support.stack import in_own_loop


def write_operator_file(folder: Path, key: ApiKey) -> Path:
    """Write what set-up tells identity of the operator's key."""
    path = folder / f"{key.key_id}.json"
    path.write_text(json.dumps({"key_id": key.key_id, "digest": key.digest.hex()}), encoding="utf-8")
    return path


@dataclass(slots=True)
class Deployment:
    """One database and one operator's key; identity can be started on it again and again."""

    settings: IdentitySettings
    folder: Path
    operator: ApiKey = field(default_factory=lambda: new_key(ENV, secrets.token_bytes))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Identity]:
        """Serve identity until the block ends. Ready means that the operator's key works."""
        path = write_operator_file(self.folder, self.operator)
        app = create(self.settings.model_copy(update={"operator_digest_file": path}))
        async with served(app) as client:
            yield Identity(self.settings, client, self.operator.text, app)


@dataclass(slots=True)
class Identity:
    """A running identity and a client of it."""

    settings: IdentitySettings
    client: httpx.AsyncClient
    operator: str
    app: FastAPI | None = None  # none where identity is a process of its own

    async def call(
        self, method: str, path: str, key: str | None = None, *, body: object = None, **headers: str
    ) -> httpx.Response:
        """Send a request, as the operator unless another key is given; `headers` are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["authorization"] = f"Bearer {key or self.operator}"
        if key is None:
            sent = WHY | sent
        return await self.client.request(method, path, json=body, headers=sent)

    async def new_tenant(self, name: str = "Acme") -> tuple[str, str]:
        """Register a tenant and return its id and its key, once the key works here."""
        answer = (await self.call("POST", "/v1/tenants", body={"name": name})).raise_for_status().json()
        await self.until_usable(answer["key"]["secret"])
        return answer["tenant"]["tenant_id"], answer["key"]["secret"]

    async def new_key(self, tenant_id: str, **order: object) -> str:
        """Make a key for the tenant and return it, once it works here."""
        path = f"/v1/tenants/{tenant_id}/keys"
        answer = (await self.call("POST", path, body={"name": "another", **order})).raise_for_status().json()
        await self.until_usable(answer["key"]["secret"])
        return str(answer["key"]["secret"])

    async def until_refused(self, key: str) -> float:
        """Wait until the key is refused here, and return for how long."""

        async def refused() -> bool:
            return (await self.call("GET", "/v1/me", key)).status_code == 401

        return await eventually(refused, "the key is refused")

    async def until_usable(self, key: str) -> float:
        """Wait until the key is known here, and return for how long."""

        async def known() -> bool:
            return (await self.call("GET", "/v1/me", key)).status_code == 200

        return await eventually(known, "the key works")


def operator_settings(dsn: str, kafka: KafkaAccess) -> IdentitySettings:
    """Return the settings of an identity over this database and broker."""
    return IdentitySettings(postgres_url=dsn, **kafka_settings(kafka))


@asynccontextmanager
async def connected(kafka: KafkaAccess) -> AsyncIterator[KafkaBus]:
    """Give a connection as another process has one."""
    bus = KafkaBus(kafka, client_id="test")
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture(scope="session")
def own_kafka(kafka: KafkaAccess, kafka_of: KafkaOf) -> KafkaAccess:
    """Identity's access to the broker, once quota has published the plan starter there."""
    in_own_loop(_publish_plan(kafka))
    return kafka_of("identity")


async def _publish_plan(kafka: KafkaAccess) -> None:
    plan = PlanChanged(
        plan_id="starter",
        version=1,
        name="Starter",
        limits=Limits(qps=50, events_s=1000, storage_gb=200),
        price_map=PriceMap.model_validate({"gql_per_million": "2", "ingest_per_k": "0.1"}),
        effective_at=NOW,
    )
    said = event_message("plan-changes", plan, key="plan/starter/1", event_id=uuid.uuid4(), at=NOW)
    async with connected(kafka) as bus:
        await bus.publisher.publish([said])


@pytest.fixture
def deployment(fresh_database: Callable[..., str], own_kafka: KafkaAccess, tmp_path: Path) -> Deployment:
    """A fresh deployment of identity, not started."""
    return Deployment(operator_settings(fresh_database("identity"), own_kafka), tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def identity(
    module_database: Callable[..., str], own_kafka: KafkaAccess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Identity]:
    """A running identity that the tests of a module share: each makes tenants of its own."""
    settings = operator_settings(module_database("identity"), own_kafka)
    async with Deployment(settings, tmp_path_factory.mktemp("identity")).running() as running:
        yield running
