"""Evidence as it runs: its real wiring on a real broker and database, from an announced invoice to `maestro verify`."""

import base64
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from libs.access.keys import ApiKey
from libs.access.scopes import DEFAULT_SCOPES
from libs.bus.envelope import decode, event_message
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.ports import Reader
from libs.runtime.errors import Broken
from libs.schemas.events import EventModel, InvoiceIssued, ManifestSigned
from libs.schemas.values import TenantId
from libs.signing.keys import PublicKey, SigningKey
from libs.signing.manifest import BUNDLE_NAME, MANIFEST_NAME
from services.evidence.app import create
from services.evidence.cli import verify
from services.evidence.settings import EvidenceSettings
from tests.support.access import NOW, api_key, bearer, key_changed, tenant_changed, tenant_id
from tests.support.conditions import eventually
from tests.support.issued_invoices import issued_invoice
from tests.support.kafka import KafkaOf, kafka_settings
from tests.support.served import served

TENANT = tenant_id(771)  # no other test of the session's broker uses it
OWN = api_key(771)


@pytest.fixture
async def bus(kafka: KafkaAccess) -> AsyncIterator[KafkaBus]:
    """A connection of the test's own, which plays identity and invoicing."""
    connection = KafkaBus(kafka, client_id="test")
    await connection.start()
    yield connection
    await connection.stop()


@pytest.fixture
async def settings(fresh_database: Callable[..., str], kafka_of: KafkaOf, tmp_path: Path) -> EvidenceSettings:
    """A deployment of evidence, not started."""
    told = kafka_settings(kafka_of("evidence"))
    return EvidenceSettings(postgres_url=fresh_database("evidence"), state_dir=tmp_path / "state", **told)


async def publish(bus: KafkaBus, topic: str, *events: tuple[str, EventModel]) -> None:
    await bus.publisher.publish(
        [event_message(topic, event, key=key, event_id=uuid.uuid4(), at=NOW) for key, event in events]
    )


async def introduce(bus: KafkaBus, tenant: TenantId, key: ApiKey) -> None:
    """What identity says of a tenant and its key."""
    changed = key_changed(key, "tenant", tenant_id=tenant, scopes=DEFAULT_SCOPES["tenant"])
    await publish(bus, "tenant-changes", (f"tenant/{tenant}", tenant_changed(tenant)), (f"key/{key.key_id}", changed))


async def fetched(client: httpx.AsyncClient, path: str) -> bytes:
    headers = {"authorization": bearer(OWN)}

    async def is_there() -> bool:
        return (await client.get(path, headers=headers)).status_code == 200

    await eventually(is_there, f"{path} is answered", within_s=60)
    return (await client.get(path, headers=headers)).content


async def entry_of(reader: Reader, invoice: InvoiceIssued) -> ManifestSigned:
    """The word of evidence on that invoice, among all that the session's tests make it say."""
    found: list[ManifestSigned] = []

    async def is_said() -> bool:
        entries = [decode(record, ManifestSigned).data for record in (await reader.poll()).records]
        found.extend(one for one in entries if one.manifest_sha == invoice.manifest_sha)
        return bool(found)

    await eventually(is_said, "the manifest is said to be signed", within_s=60)
    return found[0]


async def test_an_announced_invoice_ends_as_a_folder_that_maestro_verify_accepts(
    settings: EvidenceSettings, bus: KafkaBus, tmp_path: Path
) -> None:
    invoice = issued_invoice(f"MST-{uuid.uuid4().hex[:8]}", tenant_id=TENANT)
    await introduce(bus, TENANT, OWN)
    entries = bus.reader("evidence-entries")
    await entries.start()

    async with served(create(settings)) as client:
        await publish(bus, "invoices", (TENANT, invoice))
        said = await entry_of(entries, invoice)
        kept = await fetched(client, f"/v1/artifacts/{invoice.manifest_sha}")
        bundle = await fetched(client, f"/v1/artifacts/{invoice.manifest_sha}/bundle")
    await entries.stop()

    folder = tmp_path / "copy"
    folder.mkdir()
    contents = {"invoice.json": f'{{"number":"{invoice.number}"}}'.encode(), "invoice.csv": b"metric,value\n"}
    for name, content in {**contents, MANIFEST_NAME: kept, BUNDLE_NAME: bundle}.items():
        (folder / name).write_bytes(content)
    assert kept == base64.b64decode(invoice.manifest)
    assert bundle == said.bundle.encode()
    assert verify(folder, settings.published_key_path, as_json=False) == 0


async def test_a_restart_signs_with_the_same_key(settings: EvidenceSettings) -> None:
    async with served(create(settings)) as client:
        before = (await client.get("/v1/trust")).json()
    async with served(create(settings)) as client:
        after = (await client.get("/v1/trust")).json()

    assert before == after
    assert PublicKey.load(settings.published_key_path).fingerprint == after["keys"][0]["fingerprint"]
    assert settings.key_path.stat().st_mode & 0o777 == 0o600


async def test_a_lost_key_file_stops_the_start_and_leaves_the_published_key_alone(settings: EvidenceSettings) -> None:
    async with served(create(settings)):
        published = settings.published_key_path.read_bytes()
    settings.key_path.unlink()
    SigningKey.load_or_make(settings.key_path)

    with pytest.raises(Broken, match="put the old file back"):
        async with served(create(settings)):
            pass

    assert settings.published_key_path.read_bytes() == published
