"""Reading back what we said ourselves: an invoice comes again as it was told of, or not at all."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from libs.schemas.events import InvoiceIssued
from libs.schemas.values import TenantId
from libs.store.pool import Pool, Tx, transaction
from services.invoicing.domain.documents import Issuer
from services.invoicing.errors import ToldOtherwise
from services.invoicing.handlers import Billing, Recalling
from tests.support.invoicing import ISSUER, OTHER, TENANT, requested
from tests.support.invoicing_rows import NOTHING_UNREAD, Desk, issued, prepared, received


class Undone(Exception):
    """A transaction is to leave nothing."""


async def said_before(pool: Pool, desk: Desk, tenant: TenantId = TENANT) -> InvoiceIssued:
    """Return what is said of the tenant's invoice, and have the store lose it."""
    said: list[InvoiceIssued] = []
    with suppress(Undone):
        async with transaction(pool) as tx:
            said.append((await issued(tx, desk, tenant)).event())
            raise Undone
    return said[0]


async def issues(tx: Tx, desk: Desk, tenant: TenantId = TENANT) -> tuple[str, str]:
    """Issue the tenant's invoice and return its number and digest."""
    invoice = await desk.issue(tx, requested(tenant).close_id)
    assert invoice is not None
    return invoice.number, invoice.manifest_sha


async def test_an_invoice_that_was_told_of_comes_again_later_as_it_was(pool: Pool, desk: Desk) -> None:
    told = await said_before(pool, desk)
    desk.clock.advance(timedelta(days=1))
    async with transaction(pool) as tx:
        await desk.recalling.on_invoice_issued(tx, received(told))
        await prepared(tx, desk)
        assert await issues(tx, desk) == (told.number, told.manifest_sha)


async def test_a_number_that_was_told_of_goes_to_no_other_invoice(pool: Pool, desk: Desk) -> None:
    told = await said_before(pool, desk)
    async with transaction(pool) as tx:
        await desk.recalling.on_invoice_issued(tx, received(told))
        await prepared(tx, desk, OTHER)
        assert (await issues(tx, desk, OTHER))[0] == ISSUER.number(2)


async def test_what_was_told_twice_and_differently_is_refused_and_the_first_stands(pool: Pool, desk: Desk) -> None:
    told = await said_before(pool, desk)
    async with transaction(pool) as tx:
        await desk.recalling.on_invoice_issued(tx, received(told))
        await desk.recalling.on_invoice_issued(tx, received(told))
        with pytest.raises(ToldOtherwise):
            await desk.recalling.on_invoice_issued(tx, received(told.model_copy(update={"number": ISSUER.number(7)})))
        assert [row["number"] for row in await tx.fetch("SELECT number FROM told_invoice")] == [told.number]


async def test_what_was_told_of_an_invoice_that_stands_here_as_something_else_is_refused(
    pool: Pool, desk: Desk
) -> None:
    async with transaction(pool) as tx:
        told = (await issued(tx, desk)).event()
        await desk.recalling.on_invoice_issued(tx, received(told))
        with pytest.raises(ToldOtherwise, match=told.number):
            await desk.recalling.on_invoice_issued(tx, received(told.model_copy(update={"manifest_sha": "0" * 64})))
        assert await tx.fetchval("SELECT count(*) FROM told_invoice") == 0


async def test_an_invoice_that_would_come_again_with_other_bytes_is_not_issued_and_takes_no_number(
    pool: Pool, desk: Desk
) -> None:
    told = await said_before(pool, desk)
    async with transaction(pool) as tx:
        await desk.recalling.on_invoice_issued(tx, received(told.model_copy(update={"manifest_sha": "0" * 64})))
        await prepared(tx, desk)
        await prepared(tx, desk, OTHER)
    with pytest.raises(ToldOtherwise, match=told.number):
        async with transaction(pool) as tx:
            await issues(tx, desk)
    async with transaction(pool) as tx:
        assert (await issues(tx, desk, OTHER))[0] == ISSUER.number(2)
        assert await tx.fetchval("SELECT count(*) FROM invoices WHERE tenant_id = $1", TENANT) == 0


async def test_an_invoice_that_was_told_of_under_a_number_that_another_has_here_is_not_issued(
    pool: Pool, desk: Desk
) -> None:
    told = await said_before(pool, desk)
    async with transaction(pool) as tx:
        assert (await issued(tx, desk, OTHER)).number == told.number
        await desk.recalling.on_invoice_issued(tx, received(told))
        await prepared(tx, desk)
        with pytest.raises(ToldOtherwise, match=f"{told.number}, a number that invoice .* has here"):
            await issues(tx, desk)


async def test_an_invoice_that_was_told_of_in_another_series_is_not_issued_in_this_one(pool: Pool, desk: Desk) -> None:
    told = await said_before(pool, desk)
    moved = Issuer(ISSUER.issuer_id, ISSUER.name, "NEW")
    async with transaction(pool) as tx:
        await Recalling(moved).on_invoice_issued(tx, received(told))
        await prepared(tx, desk)
        with pytest.raises(ToldOtherwise, match="of another series than NEW-000001"):
            await Billing(desk.clock, moved).issue(tx, requested().close_id, NOTHING_UNREAD)


async def test_a_tampered_id_is_kept_and_changes_nothing_else(pool: Pool, desk: Desk) -> None:
    told = await said_before(pool, desk)
    strange = replace(received(told), data=told.model_copy(update={"invoice_id": "not a uuid"}))
    async with transaction(pool) as tx:
        await desk.recalling.on_invoice_issued(tx, strange)
        await prepared(tx, desk)
        assert (await issues(tx, desk))[0] == ISSUER.number(2)
