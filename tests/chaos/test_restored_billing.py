"""The databases of invoicing and evidence go back to before invoices that customers hold: all comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import pytest

from tests.chaos.customer import Customer
from tests.chaos.faults import MARKED_S
from tests.chaos.hand import Hand
from tests.chaos.sender import Senders
from tests.chaos.ways import Account, Doors
from tests.support.whole_stack import WholeStack

RESTORED = ("invoicing", "evidence")
LOTS = 30
REPLAY = "maestro dlq replay --service invoicing --topic usage-windows --consumer invoicing.windows --reason restored"

Held = tuple[str, dict[str, bytes]]
"""The number of an invoice, and its files by name: what a customer took home."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What customers held before both databases went back, and what they get after; by account, in the order asked."""

    before: dict[str, Held]
    after: dict[str, Held]
    untold: Held
    doubled: list[str]


@pytest.fixture(scope="module")
def customer(stack: WholeStack) -> Iterator[Customer]:
    stack.wait_until_ready()
    asking = Customer(stack.addresses, datetime.now(UTC).strftime("%Y-%m"))
    yield asking
    asking.close()


@pytest.fixture(scope="module")
def outcome(stack: WholeStack, customer: Customer) -> Outcome:
    """One invoice is in the backups and two came after; then both databases are restored, and a fourth is asked for."""
    hand = Hand(stack, Random(0))
    accounts = [customer.new_account(f"restored {number}") for number in range(4)]
    send_usage(stack, customer, accounts)
    in_backup, *told, untold = accounts
    before = {in_backup.tenant_id: invoice_of(customer, in_backup)}
    for database in RESTORED:
        hand.back_up(database)
    hand.ensure_up()
    before |= {one.tenant_id: invoice_of(customer, one) for one in told}
    hand.wait(MARKED_S, MARKED_S)
    since = {database: hand.log_end(database) for database in RESTORED}
    for database in RESTORED:
        hand.restore(database)
    for database in RESTORED:
        command = hand.named_verb(database, "raise-epoch", since[database])
        hand.run_verb(command.replace('"..."', "restored"))
    hand.ensure_up()
    for account in (untold, *reversed(told)):
        customer.ask_invoices([account])
    # What metering froze came before its request was back: it was set aside, as the decision record says.
    stack.wait_for(lambda: hand.try_verb(REPLAY).returncode == 0, "the frozen periods to be replayed")
    after = {one.tenant_id: customer.taken_home(one) for one in accounts}
    doubled = [number for number, count in customer.numbers().items() if count > 1]
    return Outcome(before, after, after.pop(untold.tenant_id), doubled)


def send_usage(stack: WholeStack, customer: Customer, accounts: list[Account]) -> None:
    """Send usage of all accounts, and wait until it is counted."""
    metering = stack.part("metering")
    senders = Senders(Doors(metering.address, metering.also_at.rpartition(" ")[2], {}), accounts, 0)
    with senders.at_work():
        customer.until("enough usage", lambda: senders.lots >= LOTS or None, senders.account_of_trouble)

    def are_counted() -> bool | None:
        return sum((customer.counted(one) for one in accounts), start=type(senders.sent)()) == senders.sent or None

    customer.until("all usage", are_counted)


def invoice_of(customer: Customer, account: Account) -> Held:
    """Have the account's invoice made and signed, and take it home."""
    customer.ask_invoices([account])
    return customer.taken_home(account)


def test_every_invoice_that_a_customer_holds_is_issued_and_signed_again_byte_for_byte(outcome: Outcome) -> None:
    assert len(outcome.before) == 3
    assert outcome.after == outcome.before


def test_what_was_not_told_of_yet_gets_a_number_that_nobody_has(outcome: Outcome) -> None:
    number, files = outcome.untold
    assert number > max(held for held, _ in outcome.before.values())
    assert files.keys() == {"invoice.json", "invoice.csv", "manifest.json", "manifest.json.sigstore.json"}
    assert outcome.doubled == []
