"""The states of a close, one test per step and per reason not to take it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.schemas.values import Period
from libs.signing.bundle import verify_blob
from libs.signing.digests import from_base64
from libs.signing.keys import SigningKey
from libs.signing.manifest import MANIFEST_NAME, Manifest
from services.invoicing.domain.closing import RatedClose, RequestedClose, Waits
from services.invoicing.domain.windows import WindowCopy
from services.invoicing.errors import (
    ConflictingClose,
    CopyDiffers,
    PeriodNotOver,
    PeriodNotStarted,
    WrongManifest,
)
from tests.support.invoicing import (
    AFTER,
    ISSUER,
    OCTOBER,
    OTHER,
    TENANT,
    TRACEPARENT,
    at,
    copied,
    frozen,
    history,
    issued,
    manifest_signed,
    period_closed,
    rated,
    requested,
    signature_of,
    starter,
    version,
)

COPIES = [copied("gql_calls", 0, 5), copied("gql_calls", 1, 7), copied("ingest_events", 0, 9)]
TICK = timedelta(microseconds=1)


def asked(now: datetime, *, early: bool = False, period: Period = OCTOBER) -> RequestedClose:
    return RequestedClose.of(TENANT, period, early=early, now=now, traceparent=TRACEPARENT)


def test_a_period_is_closed_from_its_end_on() -> None:
    assert asked(OCTOBER.ends_at).requested_at == OCTOBER.ends_at


def test_a_period_that_is_not_over_is_refused_and_the_answer_says_when_it_is() -> None:
    with pytest.raises(PeriodNotOver, match="over at 2026-11-01T00:00:00Z"):
        asked(OCTOBER.ends_at - TICK)


def test_a_period_is_over_by_the_clock_of_its_billing_zone() -> None:
    kolkata = Period.month("2026-10", "Asia/Kolkata")
    assert asked(datetime(2026, 10, 31, 18, 30, tzinfo=UTC), period=kolkata).period.ends_at < OCTOBER.ends_at


def test_a_period_that_is_not_over_is_closed_early_on_demand() -> None:
    assert asked(OCTOBER.starts_at, early=True).event().early


def test_a_period_that_has_not_started_is_refused_even_early() -> None:
    with pytest.raises(PeriodNotStarted):
        asked(OCTOBER.starts_at - TICK, early=True)


def test_whoever_asks_again_asks_for_the_same_close() -> None:
    assert asked(AFTER).close_id == asked(AFTER + timedelta(days=400)).close_id


def test_another_tenant_or_period_is_another_close() -> None:
    ids = {requested().close_id, requested(OTHER).close_id, requested(period=Period.month("2026-09", "UTC")).close_id}
    assert len(ids) == 3


def test_metering_is_told_exactly_the_interval() -> None:
    event = requested().event()
    assert (event.starts_at, event.ends_at, event.period) == (OCTOBER.starts_at, OCTOBER.ends_at, "2026-10")


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": OTHER},
        {"period": "2026-09"},
        {"starts_at": OCTOBER.starts_at + timedelta(hours=1)},
        {"ends_at": OCTOBER.ends_at + timedelta(hours=1)},
        {"close_id": str(UUID(int=1))},
    ],
)
def test_a_frozen_set_of_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConflictingClose):
        requested().freeze(period_closed(COPIES).model_copy(update=change))


def test_a_frozen_set_that_holds_a_window_twice_is_refused() -> None:
    with pytest.raises(ConflictingClose, match="twice"):
        frozen([COPIES[0], COPIES[0]])


def test_a_frozen_window_outside_of_the_period_is_refused() -> None:
    with pytest.raises(ConflictingClose, match="outside"):
        frozen([copied("gql_calls", -1, 5)])


@given(st.permutations(COPIES))
def test_the_order_of_a_frozen_set_does_not_matter(copies: list[WindowCopy]) -> None:
    assert frozen(copies) == frozen(COPIES)


def test_a_close_waits_for_the_windows_that_have_not_come_and_names_the_first() -> None:
    waits = frozen(COPIES).rate(COPIES[:1], starter())
    assert waits == Waits(
        "2 of 3 frozen windows have not arrived on usage-windows as they were frozen;"
        " the first is gql_calls 2026-10-01T00:15:00Z with sequence 1"
    )


def test_a_close_waits_for_the_tenants_plan() -> None:
    assert frozen(COPIES).rate(COPIES, history([])) == Waits("the tenant's plan has not arrived on plan-changes")


def test_a_close_waits_for_the_prices_of_every_version_that_was_in_force() -> None:
    plans = history([version()], ("starter", 1, at(0)), ("pro", 3, at(1)))
    waits = frozen(COPIES).rate(COPIES, plans)
    assert waits == Waits("the prices of pro version 3 have not arrived on plan-changes")


def test_a_close_without_usage_needs_the_plan_at_its_start() -> None:
    waits = frozen().rate([], history([], ("starter", 1, at(0))))
    assert waits == Waits("the prices of starter version 1 have not arrived on plan-changes")


def test_usage_that_was_not_frozen_is_not_billed() -> None:
    late = copied("gql_calls", 2, 1_000_000)
    outcome = frozen(COPIES).rate([*COPIES, late], starter())
    assert isinstance(outcome, RatedClose)
    assert outcome.rating == rated(COPIES).rating


def test_windows_that_do_not_add_up_to_the_frozen_totals_are_never_billed() -> None:
    close = requested().freeze(period_closed(COPIES, totals={"gql_calls": Decimal(13), "ingest_events": Decimal(9)}))
    with pytest.raises(CopyDiffers, match="gql_calls: our windows give 12, metering froze 13"):
        close.rate(COPIES, starter())


def test_the_same_close_gives_the_same_invoice_byte_for_byte() -> None:
    assert issued(COPIES).files == issued(list(reversed(COPIES))).files


def test_what_was_issued_is_told_with_the_very_bytes_that_are_to_be_signed() -> None:
    invoice = issued(COPIES)
    event = invoice.event()
    assert from_base64(event.manifest) == invoice.files[MANIFEST_NAME]
    assert event.manifest_sha == invoice.manifest_sha


def test_the_files_that_are_told_are_exactly_those_that_the_manifest_lists() -> None:
    invoice = issued(COPIES)
    listed = [(entry.name, entry.size, entry.sha256) for entry in Manifest.from_bytes(invoice.manifest).files]
    assert [(file.name, file.size, file.sha256) for file in invoice.event().files] == listed


def test_a_signature_over_the_manifest_completes_the_invoice() -> None:
    key = SigningKey.generate()
    signed = issued(COPIES).sign(manifest_signed(issued(COPIES), key))
    assert verify_blob(signed.invoice.manifest, signed.bundle, [key.public]) == key.public


@pytest.mark.parametrize("change", [{"tenant_id": OTHER}, {"manifest_sha": "0" * 64}, {"bundle": "{}"}])
def test_a_signature_for_something_else_is_refused(change: dict[str, object]) -> None:
    event = manifest_signed(issued(COPIES), SigningKey.generate()).model_copy(update=change)
    with pytest.raises(WrongManifest):
        issued(COPIES).sign(event)


def test_a_bundle_over_other_bytes_is_refused_whatever_the_event_says() -> None:
    invoice = issued(COPIES)
    with pytest.raises(WrongManifest, match="signs the digest"):
        invoice.sign(signature_of(invoice.event(), SigningKey.generate(), over=invoice.manifest + b" "))


def test_an_invoice_is_one_per_close_and_its_number_is_no_part_of_its_id() -> None:
    first = rated(COPIES).issue(1, ISSUER, AFTER)
    second = rated(COPIES).issue(2, ISSUER, AFTER)
    assert first.invoice_id == second.invoice_id
