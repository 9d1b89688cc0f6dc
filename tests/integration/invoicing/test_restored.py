"""Invoicing's database is restored to a time before invoices that others have: these come back as they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from libs.access.keys import ApiKey
from libs.bus.envelope import decode
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.lookup import records_of
from libs.bus.operator import raise_epoch
from libs.bus.relay import Relay
from libs.runtime.acts import Act
from libs.runtime.background import background
from libs.runtime.clock import ManualClock
from libs.schemas.events import InvoiceIssued
from libs.schemas.values import TenantId
from libs.store.epoch import raise_store_epoch
from libs.store.pool import Pool, transaction
from libs.store.roles import Role, database_of
from services.invoicing.consumer import SERVICE, Hearing, Issuing, consumers
from services.invoicing.domain.documents import Issuer
from services.invoicing.handlers import Billing, Closing, Copying, Recalling
from services.invoicing.settings import InvoicingSettings
from tests.support.access import api_key
from tests.support.conditions import eventually
from tests.support.invoicing import AFTER, requested
from tests.support.invoicing_rows import FreshDatabase, invoicing_pool
from tests.support.invoicing_world import World, fresh_prefix, fresh_tenant_id, invoicing_world, metered
from tests.support.stack import make_database

RESTORED = Act("a test", "req-1", "restored from a backup")
LATER = 1_000_000
OPERATOR = api_key(uuid4().int)
Issued = tuple[str, str]  # number, digest of the manifest


@dataclass
class Restored:
    """Invoicing on a store that went back, with its epoch raised; a test issues in an order of its own."""

    bus: KafkaBus
    pool: Pool
    issuer: Issuer
    told: dict[TenantId, Issued]
    untold: TenantId
    clock: ManualClock

    @property
    def issuing(self) -> Issuing:
        return Issuing(self.bus, self.pool, Billing(self.clock, self.issuer), self.clock)

    async def issue(self, tenant: TenantId) -> Issued:
        """Issue the tenant's invoice once all is read."""
        found: list[Issued] = []

        async def issued() -> bool:
            ends = await self.issuing.ends()
            async with transaction(self.pool) as tx:
                invoice = await self.issuing.billing.issue(tx, requested(tenant).close_id, ends)
            found.extend([(invoice.number, invoice.manifest_sha)] if invoice else [])
            return bool(found)

        await eventually(issued, "the invoice is issued")
        return found[0]

    async def said(self) -> dict[str, set[tuple[str, str]]]:
        """Return which invoices, by id and manifest, were ever said under each number of the series."""
        await Relay(self.pool, self.bus, service=SERVICE, instance="0").drain()
        found: dict[str, set[tuple[str, str]]] = defaultdict(set)
        async for record in records_of(self.bus, "invoices"):
            event = decode(record, InvoiceIssued).data
            if self.issuer.series_number(event.number):
                found[event.number].add((event.invoice_id, event.manifest_sha))
        return found


async def put_back(admin_dsn: str, dsn: str) -> None:
    """Put the copy of the database in its place; its roles are the same."""
    name = database_of(dsn)
    admin = await asyncpg.connect(admin_dsn)
    try:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.execute(f"ALTER DATABASE {name}_backup RENAME TO {name}")
        await admin.execute(f"ALTER DATABASE {name} OWNER TO {Role.OWNER.of(name)}")
    finally:
        await admin.close()


async def back_up(admin_dsn: str, dsn: str) -> None:
    """Keep a copy of the database as it now is."""
    admin = await asyncpg.connect(admin_dsn)
    try:
        await admin.execute(f"CREATE DATABASE {database_of(dsn)}_backup TEMPLATE {database_of(dsn)}")
    finally:
        await admin.close()


async def is_asked(world: World, operator: ApiKey, tenant: TenantId) -> None:
    """The tenant's October is to be closed, and metering was told."""
    await world.know_tenant(tenant)
    await world.until_known(operator, tenant, "2026-10")
    await world.closes_asked(tenant)


async def is_issued(world: World, operator: ApiKey, tenant: TenantId) -> Issued:
    """The tenant's October is metered, issued and told of."""
    await metered(world, tenant)
    await world.until(operator, str(requested(tenant).close_id), "issued")
    ((invoice, _),) = await world.invoices_said(tenant)
    return invoice.number, invoice.manifest_sha


@pytest.fixture
async def restored(fresh_database: FreshDatabase, postgres: str, kafka: KafkaAccess) -> AsyncIterator[Restored]:
    """Three closes are in the backup; two of them became invoices after it, and then the backup was restored."""
    dsn, prefix, bus = fresh_database("invoicing"), fresh_prefix(), KafkaBus(kafka, client_id="test")
    first, second, third = (fresh_tenant_id() for _ in range(3))
    async with invoicing_pool(dsn) as pool, transaction(pool) as tx:
        await raise_store_epoch(tx, "later than all stores of other tests on this broker", above=LATER)
    async with invoicing_world(dsn, KafkaBus(kafka, client_id="test"), number_prefix=prefix) as world:
        await world.operator(OPERATOR)
        for tenant in (first, second, third):
            await is_asked(world, OPERATOR, tenant)
    await back_up(postgres, dsn)
    async with invoicing_world(dsn, KafkaBus(kafka, client_id="test"), number_prefix=prefix) as world:
        told = {tenant: await is_issued(world, OPERATOR, tenant) for tenant in (first, second)}
    await put_back(postgres, dsn)
    make_database(postgres, database_of(dsn))
    async with AsyncExitStack() as stack:
        await bus.start()
        stack.push_async_callback(bus.stop)
        pool = await stack.enter_async_context(invoicing_pool(dsn))
        await raise_epoch(pool, bus, service=SERVICE, act=RESTORED)
        settings, clock = InvoicingSettings(postgres_url=dsn), ManualClock(AFTER + timedelta(days=1))
        issuer = Issuer(settings.issuer_id, settings.issuer_name, prefix)
        hearing = Hearing(Copying(clock), Closing(clock), Recalling(issuer))
        for purpose, consumer in consumers(bus, pool, settings.instance, hearing).items():
            await stack.enter_async_context(background(purpose, consumer.run()))
        yield Restored(bus, pool, issuer, told, third, clock)


async def test_what_others_were_told_of_is_issued_again_in_any_order_as_it_was_and_its_numbers_go_to_no_other(
    restored: Restored,
) -> None:
    first, second = restored.told
    await metered(World(restored.bus, None, restored.pool), restored.untold)  # type: ignore[arg-type]  # it only speaks

    number, _ = await restored.issue(restored.untold)
    again = {second: await restored.issue(second), first: await restored.issue(first)}

    assert again == restored.told
    assert [restored.issuer.series_number(one) for one in (again[first][0], again[second][0], number)] == [1, 2, 3]
    assert [len(invoices) for invoices in (await restored.said()).values()] == [1, 1, 1]
