"""Invoicing is killed where effect and message could part: one invoice comes of it, with the first number."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from libs.bus.envelope import EPOCH, SEQ
from libs.bus.kafka import KafkaBus
from libs.runtime.background import background
from libs.runtime.clock import ManualClock
from libs.signing.keys import SigningKey
from tests.support.access import api_key
from tests.support.conditions import eventually
from tests.support.invoicing import AFTER, requested, signature_of
from tests.support.invoicing_rows import FreshDatabase, invoicing_pool
from tests.support.invoicing_world import World, fresh_tenant_id, invoicing_world, metered

CHECKOUT = Path(__file__).resolve().parents[3]
PLACES = ["consumer.effect", "consumer.committed", "invoicing.issuing", "relay.sequenced", "relay.published"]
START_S = 60.0  # two cold starts of a process on a machine that is shared


@dataclass
class Restarted:
    """`python -m services.invoicing`, started again whenever it ends."""

    environment: dict[str, str]
    log: Path
    exits: list[int] = field(default_factory=list)

    async def run(self) -> None:
        """Start it, and again, until cancelled; then kill it."""
        while True:
            with self.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "services.invoicing", cwd=CHECKOUT, env=self.environment, stderr=log
                )
            try:
                self.exits.append(await process.wait())
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGKILL)
                    await process.wait()


@asynccontextmanager
async def dying_at(place: str, dsn: str, bootstrap: str, folder: Path) -> AsyncIterator[tuple[Restarted, str]]:
    """Run invoicing such that it dies once at `place`; give the runner and the process's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "MAESTRO_POSTGRES_URL": dsn,
        "MAESTRO_KAFKA_BOOTSTRAP": bootstrap,
        "MAESTRO_PORT": str(port),
        "MAESTRO_CRASH_AT": f"{place}:{folder / 'died'}",
    }
    runner = Restarted({**os.environ, **own}, folder / "invoicing.log")
    async with background("invoicing", runner.run()):
        yield runner, f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("place", PLACES)
async def test_a_kill_loses_nothing_and_doubles_nothing(
    place: str, fresh_database: FreshDatabase, kafka_bootstrap: str, tmp_path: Path
) -> None:
    dsn, tenant, operator = fresh_database("invoicing"), fresh_tenant_id(), api_key(uuid4().int)
    close_id = str(requested(tenant).close_id)
    async with invoicing_world(dsn, KafkaBus(kafka_bootstrap, client_id="test"), ManualClock(AFTER)) as before:
        await before.operator(operator)
        await before.know_tenant(tenant)
        await before.until_known(operator, tenant, "2026-10")
        await before.closes_asked(tenant)

    bus = KafkaBus(kafka_bootstrap, client_id="test")
    await bus.start()
    async with (
        dying_at(place, dsn, kafka_bootstrap, tmp_path) as (runner, url),
        httpx.AsyncClient(base_url=url) as client,
        invoicing_pool(dsn) as pool,
    ):
        world = World(bus, client, pool)
        await metered(world, tenant)

        async def issued() -> bool:
            return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM invoices)"))

        async def served() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(issued, f"the invoice is issued, see {runner.log}", within_s=START_S)
        said = await world.invoices_said(tenant)
        await world.say("evidence-entries", signature_of(said[0][0], SigningKey.generate()), key=tenant)
        await eventually(served, f"invoicing answers again, see {runner.log}", within_s=START_S)
        done = await world.until(operator, close_id, "signed")
        invoice = (await world.get(f"/v1/invoices/{done['invoice_id']}", operator)).json()
    await bus.stop()

    places = {(record.header(EPOCH), record.header(SEQ)) for _, record in said}
    assert runner.exits == [-signal.SIGKILL]
    assert (invoice["number"], Decimal(invoice["totals"]["total"])) == ("MST-000001", Decimal("2.48"))
    assert len(places) == 1, "republished under another sequence"
    assert len({event.manifest_sha for event, _ in said}) == 1
