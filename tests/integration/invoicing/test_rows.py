"""What only a real database can say: rows that never change, numbers without gaps, upserts by sequence."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest

from libs.schemas.events import ChangeRecorded, WindowTotalled
from libs.schemas.values import TenantId
from libs.signing.keys import SigningKey
from libs.store.pool import Pool, Tx, transaction
from services.invoicing.errors import (
    ConflictingClose,
    PeriodBeforeTenant,
    PeriodNotOver,
    PlanVersionChanged,
    UnknownClose,
    UnknownInvoice,
    UnknownTenant,
)
from services.invoicing.store import closes, invoices, windows
from tests.support.access import tenant_id
from tests.support.conditions import eventually
from tests.support.invoicing import (
    AFTER,
    OCTOBER,
    TENANT,
    at,
    copied,
    manifest_signed,
    period_closed,
    plan_changed,
    requested,
    tenant_plan_changed,
    totalled,
)
from tests.support.invoicing_rows import BY, Desk, issued, prepared, received
from tests.support.stores import owner_of

NEVER_CHANGING = [
    "plan_version",
    "close",
    "frozen_close",
    "frozen_window",
    "invoices",
    "invoice_file",
    "invoice_signature",
    "told_invoice",
]
COPIES = [copied("gql_calls", 0, 5), copied("gql_calls", 1, 7), copied("ingest_events", 0, 9)]
TOTALS = [totalled("gql_calls", 0, 5), totalled("gql_calls", 1, 7), totalled("ingest_events", 0, 9)]


async def value_of(tx: Tx, window: int = 0) -> Decimal:
    value: Decimal = await tx.fetchval("SELECT value FROM usage_window_copy WHERE window_start = $1", at(window))
    return value


@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
async def test_what_was_issued_is_never_changed_nor_removed(dsn: str, pool: Pool, desk: Desk, statement: str) -> None:
    async with transaction(pool) as tx:
        invoice = await issued(tx, desk)
        await desk.closing.on_manifest_signed(tx, received(manifest_signed(invoice, SigningKey.generate())))
    first_column = "SELECT column_name FROM information_schema.columns WHERE table_name = $1 LIMIT 1"

    async with owner_of(dsn) as owner:
        for table in NEVER_CHANGING:
            edit = statement.format(table, await owner.fetchval(first_column, table))
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(edit)
            with pytest.raises(asyncpg.RestrictViolationError, match=f"on {table} is refused: its rows never change"):
                await owner.execute(edit)


async def test_every_number_is_used_once_and_none_is_left_out_when_many_issue_at_once_and_some_fail(
    pool: Pool, desk: Desk
) -> None:
    tenants = [tenant_id(number) for number in range(16)]
    async with transaction(pool) as tx:
        for tenant in tenants:
            await prepared(tx, desk, tenant)

    async def issue(tenant: TenantId, fails: bool) -> None:
        async with transaction(pool) as tx:
            await desk.issue(tx, requested(tenant).close_id)
            if fails:
                raise LookupError

    outcomes = await asyncio.gather(
        *(issue(tenant, number % 3 == 0) for number, tenant in enumerate(tenants)), return_exceptions=True
    )
    numbers = [row["number"] for row in await pool.fetch("SELECT number FROM invoices ORDER BY series_number")]
    failed = [outcome for outcome in outcomes if isinstance(outcome, LookupError)]
    assert len(failed) == 6
    assert numbers == [f"MST-{number:06d}" for number in range(1, 11)]


async def test_two_processes_that_try_one_close_issue_one_invoice(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await prepared(tx, desk)

    async with transaction(pool) as first, transaction(pool) as second:
        one = await desk.issue(first, requested().close_id)
        other = await desk.issue(second, requested().close_id)

    assert (one is not None, other) == (True, None)


async def test_the_greater_sequence_stands_whatever_came_first(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.windows(tx, totalled("gql_calls", 0, 9, seq=3))
        await desk.windows(tx, totalled("gql_calls", 0, 5, seq=2))
        assert await value_of(tx) == 9


async def test_of_two_totals_in_one_batch_the_greater_sequence_stands(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.windows(tx, totalled("gql_calls", 0, 9, seq=3), totalled("gql_calls", 0, 5, seq=2))
        assert await value_of(tx) == 9


async def test_a_total_that_fell_because_an_event_was_voided_stands(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.windows(tx, totalled("gql_calls", 0, 9, seq=3), totalled("gql_calls", 0, 0, seq=4))
        assert await value_of(tx) == 0


async def test_a_greater_store_epoch_stands_over_any_sequence(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.windows(tx, totalled("gql_calls", 0, 9, seq=1000))
        await desk.windows(tx, totalled("gql_calls", 0, 5).model_copy(update={"store_epoch": 2}))
        assert await value_of(tx) == 5


async def test_a_value_of_thirty_eight_digits_comes_back_to_the_last(pool: Pool, desk: Desk) -> None:
    exact = Decimal("12345678901234567890.123456789012345678")
    async with transaction(pool) as tx:
        await desk.windows(tx, totalled("gql_calls", 0, str(exact)))
        assert await value_of(tx) == exact


async def test_an_older_plan_of_a_tenant_does_not_replace_a_newer_one(pool: Pool, desk: Desk) -> None:
    newer = tenant_plan_changed(("starter", 1, at(0)), ("pro", 1, at(9)))
    older = tenant_plan_changed(("starter", 1, at(0)), changed_at=newer.changed_at - timedelta(seconds=1))
    async with transaction(pool) as tx:
        await desk.copying.on_tenant_plan_changed(tx, received(newer))
        await desk.copying.on_tenant_plan_changed(tx, received(older))
        assert await tx.fetchval("SELECT count(*) FROM tenant_plan_assignment") == 2


async def test_a_version_that_comes_again_with_another_price_is_refused(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.copying.on_plan_changed(tx, received(plan_changed(gql="2")))
        with pytest.raises(PlanVersionChanged):
            await desk.copying.on_plan_changed(tx, received(plan_changed(gql="3")))


async def test_a_period_asked_for_again_is_the_same_close_and_is_said_once(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.know(tx)
        first = await desk.request(tx)
        second = await desk.request(tx)
        said = await tx.fetchval("SELECT count(*) FROM outbox WHERE topic = 'close-requests'")
        [recorded] = await tx.fetch("SELECT value FROM outbox WHERE topic = 'invoicing-audit'")
    assert (first == second, said) == (True, 1)
    change = ChangeRecorded.model_validate_json(recorded["value"])
    assert (change.action, change.tenant_id, change.subject) == ("close.requested", TENANT, f"close/{first}")
    assert (change.actor, change.request_id, change.reason) == (BY.actor, BY.request_id, BY.reason)
    assert change.details == {"period": "2026-10", "early": "false"}


async def test_two_requests_at_once_ask_for_one_close(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.know(tx)

    async def ask() -> None:
        async with transaction(pool) as tx:
            await desk.request(tx)

    await asyncio.gather(*(ask() for _ in range(6)))
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'close-requests'") == 1


async def test_a_close_of_all_is_of_every_tenant_in_its_own_zone(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.know(tx, tenant_id(1), billing_zone="Asia/Kolkata")
        await desk.know(tx, tenant_id(2))
        standing = await desk.closing.request(tx, "2026-10", None, BY, early=False)
    assert [one.request.period.starts_at.isoformat() for one in standing] == [
        "2026-09-30T18:30:00+00:00",
        "2026-10-01T00:00:00+00:00",
    ]


async def test_a_period_before_the_tenant_is_refused_by_name_and_left_out_of_a_close_of_all(
    pool: Pool, desk: Desk
) -> None:
    older, newer = tenant_id(1), tenant_id(2)
    async with transaction(pool) as tx:
        await desk.know(tx, older)
        await desk.know(tx, newer, changed_at=OCTOBER.ends_at)
        with pytest.raises(PeriodBeforeTenant, match="since 2026-11-01T00:00:00"):
            await desk.closing.request(tx, "2026-10", [older, newer], BY, early=False)
        standing = await desk.closing.request(tx, "2026-10", None, BY, early=False)
    assert [one.request.tenant_id for one in standing] == [older]


async def test_a_tenant_that_changes_is_no_younger_for_it(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.know(tx)
        await desk.copying.on_tenant_plan_changed(tx, received(tenant_plan_changed(("starter", 1, at(0)))))
        await desk.know(tx, changed_at=AFTER)
        assert await desk.request(tx)


async def test_one_tenant_that_is_unknown_refuses_the_whole_request(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.know(tx)
        with pytest.raises(UnknownTenant, match=tenant_id(9)):
            await desk.closing.request(tx, "2026-10", [TENANT, tenant_id(9)], BY, early=False)
        assert await tx.fetchval("SELECT count(*) FROM close") == 0


async def test_one_tenant_whose_period_is_not_over_refuses_the_whole_request(pool: Pool) -> None:
    desk = Desk(OCTOBER.ends_at)
    async with transaction(pool) as tx:
        await desk.know(tx, tenant_id(1))
        await desk.know(tx, tenant_id(2), billing_zone="America/New_York")
        with pytest.raises(PeriodNotOver, match="America/New_York"):
            await desk.closing.request(tx, "2026-10", None, BY, early=False)
        assert await tx.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_frozen_set_that_nobody_asked_for_is_refused(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        with pytest.raises(UnknownClose):
            await desk.closing.on_period_closed(tx, period_closed())


async def test_the_first_frozen_set_stands_and_another_is_refused(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.know(tx)
        await desk.request(tx)
        await desk.closing.on_period_closed(tx, period_closed(COPIES))
        await desk.closing.on_period_closed(tx, period_closed(COPIES))
        with pytest.raises(ConflictingClose):
            await desk.closing.on_period_closed(tx, period_closed(COPIES[:2]))


async def test_a_frozen_set_comes_back_from_the_store_as_it_was_kept(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await desk.know(tx)
        close_id = await desk.request(tx)
        await desk.closing.on_period_closed(tx, period_closed(COPIES))
        close = await closes.close_by_id(tx, close_id)
        assert close is not None
        assert await closes.frozen_by_id(tx, close_id) == close.freeze(period_closed(COPIES))


async def test_a_waiting_close_says_for_what_and_is_due_again_when_it_comes(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await prepared_with_usage(tx, desk, TOTALS[:2])
        assert await desk.issue(tx, requested().close_id) is None
        before = await desk.progress(tx, requested().close_id)
        due_before = await closes.due(tx, desk.clock.now(), 10)
        await desk.windows(tx, TOTALS[2])
        due_after = await closes.due(tx, desk.clock.now(), 10)
    assert before.waits_for is not None
    assert before.waits_for.startswith("1 of 3 frozen windows have not arrived")
    assert (due_before, due_after) == ([], [requested().close_id])


async def test_what_comes_while_a_close_is_tried_is_not_overlooked(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await prepared_with_usage(tx, desk, TOTALS[:2])

    async def bring() -> None:
        async with transaction(pool) as tx:
            await desk.windows(tx, TOTALS[2])

    async with transaction(pool) as trying:
        assert await desk.issue(trying, requested().close_id) is None
        bringing = asyncio.create_task(bring())
        await until_blocked(pool)
    await bringing

    async with transaction(pool) as tx:
        assert await closes.due(tx, desk.clock.now(), 10) == [requested().close_id]


async def test_the_first_signature_stands(pool: Pool, desk: Desk) -> None:
    first, second = SigningKey.generate(), SigningKey.generate()
    async with transaction(pool) as tx:
        invoice = await issued(tx, desk)
        await desk.closing.on_manifest_signed(tx, received(manifest_signed(invoice, first)))
        await desk.closing.on_manifest_signed(tx, received(manifest_signed(invoice, second)))
        kept = await invoices.content_of(tx, invoice.invoice_id, "manifest.json.sigstore.json")
    assert kept is not None
    assert kept[0] == manifest_signed(invoice, first).bundle.encode()


async def test_a_signature_of_an_invoice_that_is_not_ours_is_refused(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        invoice = await issued(tx, desk)
        signed = manifest_signed(invoice, SigningKey.generate()).model_copy(update={"subject_id": "no-uuid"})
        with pytest.raises(UnknownInvoice):
            await desk.closing.on_manifest_signed(tx, received(signed))


async def test_files_come_back_byte_for_byte(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        invoice = await issued(tx, desk)
        kept = await invoices.issued_by_id(tx, invoice.invoice_id)
    assert kept == invoice


async def test_copies_of_other_windows_are_no_part_of_a_close(pool: Pool, desk: Desk) -> None:
    async with transaction(pool) as tx:
        await prepared_with_usage(tx, desk, [*TOTALS, totalled("gql_calls", 7, 1)])
        held = await windows.copies_of_frozen(tx, requested().close_id, TENANT)
    assert sorted(held, key=lambda copy: (copy.metric, copy.window_start)) == COPIES


async def prepared_with_usage(tx: Tx, desk: Desk, totals: list[WindowTotalled]) -> None:
    """A tenant on Starter whose October is frozen over COPIES, of which `totals` have come."""
    await desk.know(tx)
    await desk.copying.on_plan_changed(tx, received(plan_changed()))
    await desk.copying.on_tenant_plan_changed(tx, received(tenant_plan_changed(("starter", 1, OCTOBER.starts_at))))
    await desk.request(tx)
    await desk.windows(tx, *totals)
    await desk.closing.on_period_closed(tx, period_closed(COPIES))


async def until_blocked(pool: Pool) -> None:
    """Wait until some transaction of this database waits for a lock of another."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def blocked() -> bool:
        return bool(await pool.fetchval(waiting))

    await eventually(blocked, "a transaction waits for a lock")
