"""Invoicing is killed where effect and message could part: one invoice comes of it, with the first number."""

from __future__ import annotations

import asyncio
import signal
import sys
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from libs.access.keys import ApiKey
from libs.bus.envelope import EPOCH, SEQ
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.signing.folder import verify_folder
from libs.signing.keys import SigningKey
from tests.support.access import api_key
from tests.support.conditions import eventually
from tests.support.dying import dying_at
from tests.support.invoicing import requested, signature_of
from tests.support.invoicing_rows import FreshDatabase, invoicing_pool
from tests.support.invoicing_world import World, fresh_prefix, fresh_tenant_id, invoicing_world, metered, until_taken
from tests.support.kafka import KafkaOf, kafka_environment

PLACES = ["consumer.effect", "consumer.committed", "invoicing.issuing", "relay.sequenced", "relay.published"]
WITHIN_S = 60.0  # two cold starts of a process on a machine that is shared


async def taken_home(url: str, key: ApiKey, invoice_id: str, folder: Path) -> Path:
    """Take the invoice's files home on the command line; return where they lie."""
    key_file, files = folder / "operator.key", folder / "files"
    key_file.write_text(key.text)
    command = ["-m", "services.invoicing.cli", "--url", url, "--key-file", str(key_file), "get", invoice_id]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, "--to", str(files))
    assert await process.wait() == 0
    return files


@pytest.mark.parametrize("place", PLACES)
async def test_a_kill_loses_nothing_and_doubles_nothing(
    place: str, fresh_database: FreshDatabase, kafka: KafkaAccess, kafka_of: KafkaOf, tmp_path: Path
) -> None:
    dsn, tenant, operator = fresh_database("invoicing"), fresh_tenant_id(), api_key(uuid4().int)
    prefix = fresh_prefix()
    close_id = str(requested(tenant).close_id)
    async with invoicing_world(dsn, KafkaBus(kafka, client_id="test"), number_prefix=prefix) as before:
        await before.operator(operator)
        await before.know_tenant(tenant)
        await before.until_known(operator, tenant, "2026-10")
        await until_taken(before, tenant)  # also what other tests left: the process dies over our own
        await before.closes_asked(tenant)
    bus, signer = KafkaBus(kafka, client_id="test"), SigningKey.generate()
    await bus.start()
    told = {"MAESTRO_POSTGRES_URL": dsn, "MAESTRO_NUMBER_PREFIX": prefix, **kafka_environment(kafka_of("invoicing"))}
    async with (
        dying_at(place, "invoicing", told, tmp_path) as runner,
        httpx.AsyncClient(base_url=runner.address, trust_env=False) as client,
        invoicing_pool(dsn) as pool,
    ):
        world = World(bus, client, pool)
        await metered(world, tenant)

        async def issued() -> bool:
            return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM invoices)"))

        async def answers() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(issued, f"the invoice is issued, see {runner.log}", within_s=WITHIN_S)
        said = await world.invoices_said(tenant)
        await world.say("evidence-entries", signature_of(said[0][0], signer), key=tenant)
        await eventually(answers, f"invoicing answers again, see {runner.log}", within_s=WITHIN_S)
        done = await world.until(operator, close_id, "signed")
        invoice = (await world.get(f"/v1/invoices/{done['invoice_id']}", operator)).json()
        files = await taken_home(runner.address, operator, done["invoice_id"], tmp_path)
    await bus.stop()

    places = {(record.header(EPOCH), record.header(SEQ)) for _, record in said}
    assert runner.exits == [-signal.SIGKILL]
    assert (invoice["number"], Decimal(invoice["totals"]["total"])) == (f"{prefix}-000001", Decimal("2.48"))
    assert len(places) == 1, "republished under another sequence"
    assert len({event.manifest_sha for event, _ in said}) == 1
    assert verify_folder(files, [signer.public]).is_verified
