"""One seed: usage is sent and invoices are made while things break, and then every number is compared."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any, Final

from tests.chaos.bound import Bound
from tests.chaos.customer import WITHIN_S, Customer, NotInTime
from tests.chaos.faults import ASK_THEMSELVES, BESIDE, MAIN, WHILE_CLOSING, Fault
from tests.chaos.hand import Hand
from tests.chaos.sender import Entry, Senders
from tests.chaos.ways import Account, Doors, NotAccepted

ACCOUNTS: Final = 2
LEAST_LOTS: Final = 60
SETTLES_FOR_S: Final = 1.2  # a window is told once a second: a total that is right and grows is wrong a second later


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens in a seed: one fault of the catalogue in turn, some beside it, some while invoices are made."""

    seed: int
    main: str
    beside: tuple[str, ...]
    closing: tuple[str, ...]


@dataclass(slots=True)
class Result:
    """What came of a seed. `lost` and `doubled` are units by which a number was short or over, all of them together."""

    plan: Plan
    usages: int = 0
    ways: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    trouble: str = ""
    seconds: float = 0.0

    @property
    def is_exact(self) -> bool:
        """Whether nothing was lost, nothing doubled, and everything came."""
        return not (self.lost or self.doubled or self.trouble) and self.usages > 0

    def document(self) -> dict[str, Any]:
        """Return the result as JSON holds it."""
        return asdict(self) | {"exact": self.is_exact}


def plan_of(seed: int, mains: Sequence[str] = tuple(MAIN), beside: Sequence[str] = tuple(sorted(BESIDE))) -> Plan:
    """Return what happens in `seed`; its main fault is one of `mains`, in turn, and three of `beside` go with it."""
    random = Random(seed)
    return Plan(
        seed,
        mains[seed % len(mains)],
        tuple(random.sample(beside, 3)),
        tuple(random.sample(sorted(WHILE_CLOSING), 3)),
    )


def run_seed(hand: Hand, plan: Plan, within_s: float = WITHIN_S, bound: Bound | None = None) -> Result:
    """Run a seed on a stack that is up, and leave it up; what does not come within `within_s` seconds is lost.

    With `bound` one of its tenants sends by Kafka too.
    """
    begun = time.monotonic()
    result = Result(plan, said=hand.said)
    period = datetime.now(UTC).strftime("%Y-%m")
    customer = Customer(hand.stack.addresses, period, within_s)
    try:
        with hand.undo:
            _live(hand, customer, result, bound)
    except (NotInTime, NotAccepted, AssertionError) as error:
        result.trouble = f"{type(error).__name__}: {error}"
    finally:
        customer.close()
    result.seconds = round(time.monotonic() - begun, 1)
    return result


def _live(hand: Hand, customer: Customer, result: Result, bound: Bound | None) -> None:
    plan = result.plan
    hand.ensure_up()
    accounts = _accounts(hand, customer, plan, bound)
    metering = hand.stack.part("metering")
    doors = Doors(metering.address, metering.also_at.rpartition(" ")[2], bound.logins() if bound else {})
    senders = Senders(doors, accounts, plan.seed)
    hand.ask_invoices = partial(customer.ask_invoices, accounts)
    hand.register = lambda: partial(customer.counted, customer.register("while identity freezes"))
    main = MAIN[plan.main]
    closes = plan.main in ASK_THEMSELVES
    with senders.at_work():
        _break(hand, [BESIDE[name] for name in plan.beside], _nothing if closes else main)
        customer.until("enough usage", lambda: senders.lots >= LEAST_LOTS or None, senders.account_of_trouble)
    hand.ensure_up()
    result.ways = dict(senders.ways)
    result.usages, result.refusals = senders.lots, dict(senders.refusals)
    _settle(customer, accounts, senders.sent, result)
    if result.lost or result.doubled:
        return
    _break(hand, [WHILE_CLOSING[name] for name in plan.closing], main if closes else _ask_invoices)
    for account in accounts:
        _compare(result, senders.sent, customer.invoiced(account), account)
    hand.ensure_up()
    twice = [number for number, count in customer.numbers().items() if count > 1]
    assert not twice, f"numbers of more than one invoice: {twice}"
    for account in accounts:
        _compare(result, senders.sent, customer.counted(account), account)


def _accounts(hand: Hand, customer: Customer, plan: Plan, bound: Bound | None) -> list[Account]:
    """Return the tenants of a seed: new ones, but one whose usage may come by Kafka where that is bound."""
    by_kafka = [bound.account(hand, customer)] if bound else []
    new = range(ACCOUNTS - len(by_kafka))
    return [*by_kafka, *(customer.new_account(f"chaos {plan.seed} {number}") for number in new)]


def _nothing(_hand: Hand) -> None:
    """The main fault comes when invoices are made."""


def _ask_invoices(hand: Hand) -> None:
    hand.ask_invoices()


def _break(hand: Hand, beside: Iterable[Fault], main: Fault) -> None:
    """Do the main fault somewhere between the others."""
    faults = [*beside]
    faults.insert(hand.random.randrange(len(faults) + 1), main)
    for fault in faults:
        fault(hand)
        hand.wait(0.1, 0.6)


def _settle(customer: Customer, accounts: list[Account], sent: Counter[Entry], result: Result) -> None:
    """Wait until all that was sent is counted, and see that it stays so."""

    def is_counted() -> bool | None:
        found = _counted(customer, accounts)
        return True if found == sent or any(found[entry] > sent[entry] for entry in found) else None

    try:
        customer.until("all usage", is_counted, lambda: dict(sent - _counted(customer, accounts)))
    except NotInTime as error:
        result.said.append(str(error))
    time.sleep(SETTLES_FOR_S)
    for account in accounts:
        _compare(result, sent, customer.counted(account), account)


def _counted(customer: Customer, accounts: list[Account]) -> Counter[Entry]:
    found: Counter[Entry] = Counter()
    for account in accounts:
        found += customer.counted(account)
    return found


def _compare(result: Result, sent: Counter[Entry], found: Counter[Entry], account: Account) -> None:
    mine = Counter({entry: count for entry, count in sent.items() if entry[0] == account.tenant_id})
    result.lost += (mine - found).total()
    result.doubled += (found - mine).total()
