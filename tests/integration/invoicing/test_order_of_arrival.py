"""Topics know no order between each other, and everything may come twice: the invoice is the same, byte for byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.signing.keys import SigningKey
from libs.store.pool import Pool, Tx, connection
from services.invoicing.domain.documents import FILE_NAMES
from services.invoicing.domain.windows import WindowCopy
from services.invoicing.store import invoices
from tests.support.invoicing import (
    TENANT,
    at,
    manifest_signed,
    period_closed,
    plan_changed,
    requested,
    tenant_plan_changed,
    totalled,
)
from tests.support.invoicing_rows import Desk, received

FIRST_TOTALS = totalled("gql_calls", 0, 5, seq=1)
LAST_TOTALS = (totalled("gql_calls", 0, 900_000, seq=2), totalled("gql_calls", 1, 700_000))
STORAGE = totalled("storage_gb", 0, 9)
FROZEN = period_closed([WindowCopy.of(total) for total in (*LAST_TOTALS, STORAGE)])

Arrival = Callable[[Desk, Tx], Awaitable[Any]]

ARRIVALS: dict[str, Arrival] = {
    "starter": lambda desk, tx: desk.copying.on_plan_changed(tx, received(plan_changed("starter"))),
    "pro": lambda desk, tx: desk.copying.on_plan_changed(tx, received(plan_changed("pro", gql="7"))),
    "plans of the tenant": lambda desk, tx: desk.copying.on_tenant_plan_changed(
        tx, received(tenant_plan_changed(("starter", 1, at(0)), ("pro", 1, at(1))))
    ),
    "an early total": lambda desk, tx: desk.windows(tx, FIRST_TOTALS),
    "the last totals": lambda desk, tx: desk.windows(tx, *LAST_TOTALS),
    "storage": lambda desk, tx: desk.windows(tx, STORAGE),
    "frozen": lambda desk, tx: desk.closing.on_period_closed(tx, FROZEN),
}
KEY = SigningKey.generate()


async def files_after(pool: Pool, order: list[str]) -> tuple[dict[str, bytes], int]:
    """Return the invoice's files, and how many invoices were said, after `order`; all is rolled back afterwards."""
    async with connection(pool) as tx:
        everything = tx.transaction()
        await everything.start()
        try:
            return await _files_after(tx, order)
        finally:
            await everything.rollback()


async def _files_after(tx: Tx, order: list[str]) -> tuple[dict[str, bytes], int]:
    """Let everything arrive in this order, and try the close after each."""
    desk = Desk()
    files: dict[str, bytes] = {}
    await desk.know(tx)
    close_id = await desk.request(tx)
    for name in order:
        await ARRIVALS[name](desk, tx)
        invoice = await desk.issue(tx, close_id)
        if invoice is not None:
            await desk.closing.on_manifest_signed(tx, received(manifest_signed(invoice, KEY)))
            await desk.closing.on_manifest_signed(tx, received(manifest_signed(invoice, KEY)))
            files = {name: await content(tx, name) for name in FILE_NAMES}
    return files, await tx.fetchval("SELECT count(*) FROM outbox WHERE topic = 'invoices'")


async def content(tx: Tx, name: str) -> bytes:
    listed = await invoices.invoices_after(tx, None, 2, [TENANT], None)
    (invoice,) = listed
    found = await invoices.content_of(tx, invoice.id, name)
    assert found is not None
    return found[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([*ARRIVALS, *ARRIVALS]))
async def test_every_order_with_everything_twice_gives_one_invoice_with_the_same_bytes(
    pool: Pool, order: list[str]
) -> None:
    files, said = await files_after(pool, order)
    expected, _ = await files_after(pool, list(ARRIVALS))
    assert said == 1
    assert files == expected


async def test_the_invoice_of_these_arrivals_is_the_right_one(pool: Pool) -> None:
    files, _ = await files_after(pool, list(ARRIVALS))
    rows = [line.split(",") for line in files["invoice.csv"].decode().splitlines()[1:]]
    assert [(row[5], row[6], row[10], row[14]) for row in rows] == [
        ("gql_calls", "starter", "900000", "1.80"),
        ("gql_calls", "pro", "700000", "4.90"),
        ("ingest_events", "starter", "0", "0.00"),
        ("storage_gb", "starter", "9", "0.00"),
    ]


async def test_nothing_is_issued_while_anything_is_missing(pool: Pool) -> None:
    needed = [name for name in ARRIVALS if name != "an early total"]
    for missing in needed:
        files, said = await files_after(pool, [name for name in ARRIVALS if name != missing])
        assert (files, said) == ({}, 0), missing


def test_the_close_is_the_one_that_was_frozen() -> None:
    assert FROZEN.close_id == str(requested().close_id)
