"""From usage to lines: exact quantities, exact amounts, each rounded once (docs/decisions/0004-money.md).

A line is one metric on one plan version. What is summed is the base quantity that metering froze (calls, events,
byte-microseconds), so the lines of a metric add up to the metered total to the unit, however often the plan changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Final

from libs.schemas.events import Metric, PriceMap
from libs.schemas.values import EXACT, Money, plain
from services.invoicing.domain.pricing import PlanHistory, PlanVersion
from services.invoicing.domain.windows import UNIT_OF, WindowCopy
from services.invoicing.errors import MixedCurrencies

GB_HOUR_BYTE_US: Final = 10**9 * 3_600_000_000  # byte-microseconds in a gigabyte-hour: 10^9 bytes for one hour
GB_HOUR_DECIMALS: Final = 12  # a thousandth of a byte-hour: finer than any price can tell
_STEPS: Final = 10**GB_HOUR_DECIMALS


@dataclass(frozen=True, slots=True)
class Tariff:
    """How a metric is priced: `price` is for `price_per` units of `unit`; `converted` turns base units into these."""

    metric: Metric
    unit: str
    price_per: int
    price: Callable[[PriceMap], Decimal]
    converted: Callable[[Decimal], Decimal]
    conversion: str = ""

    @property
    def base_unit(self) -> str:
        """The unit that metering counts in."""
        return UNIT_OF[self.metric]


@dataclass(frozen=True, slots=True)
class Line:
    """One metric on one plan version. `exact` is before rounding, `amount` after."""

    position: int
    tariff: Tariff
    plan: PlanVersion
    base_quantity: Decimal
    window_count: int
    quantity: Decimal
    unit_price: Decimal
    exact: Money
    amount: Money

    @property
    def explanation(self) -> str:
        """The whole calculation in one sentence, with every number that it uses."""
        currency = self.amount.currency
        conversion = f"{plain(self.base_quantity)} {self.tariff.conversion}; " if self.tariff.conversion else ""
        return (
            f"{self.plan.plan_id} version {self.plan.version}, {self.window_count} windows: {conversion}"
            f"{plain(self.quantity)} {self.tariff.unit} / {self.tariff.price_per} * {plain(self.unit_price)} {currency}"
            f" = {plain(self.exact.amount)} {currency}, rounded half up to {self.amount.amount:f} {currency}"
        )


@dataclass(frozen=True, slots=True)
class Rating:
    """All lines of an invoice and their sum: the total is the sum of rounded lines, so that a reader can add it up."""

    lines: tuple[Line, ...]
    total: Money


def gb_hours(byte_us: Decimal) -> Decimal:
    """Return byte-microseconds (a whole number) as GB-hours with 12 decimals, halves to even: the only conversion."""
    steps, remainder = divmod(int(byte_us) * _STEPS, GB_HOUR_BYTE_US)
    doubled = 2 * remainder
    steps += doubled > GB_HOUR_BYTE_US or (doubled == GB_HOUR_BYTE_US and steps % 2 == 1)
    return EXACT.scaleb(Decimal(steps), -GB_HOUR_DECIMALS)


def _as_is(base_quantity: Decimal) -> Decimal:
    return base_quantity


TARIFFS: Final[tuple[Tariff, ...]] = (
    Tariff("gql_calls", "call", 1_000_000, lambda prices: prices.gql_per_million, _as_is),
    Tariff("ingest_events", "event", 1_000, lambda prices: prices.ingest_per_k, _as_is),
    Tariff(
        "storage_gb",
        "GB.h",
        1,
        lambda _prices: Decimal(0),  # no plan prices storage; the line says what was stored, at 0
        gb_hours,
        f"By.us / {GB_HOUR_BYTE_US} to {GB_HOUR_DECIMALS} decimals, half even",
    ),
)


def rate(usage: Iterable[WindowCopy], history: PlanHistory, starts_at: datetime) -> Rating:
    """Return the lines of `usage`, and at least one line per metric, at 0 where nothing was used.

    Each window is rated by the plan version in force at its start; a metric without windows by the one in force at
    `starts_at`. Does not depend on the order of `usage`. Raises MixedCurrencies.
    """
    windows = sorted(usage, key=lambda window: (window.window_start, window.metric))
    groups = [group for tariff in TARIFFS for group in _groups(tariff, windows, history, starts_at)]
    lines = tuple(_line(position, *group) for position, group in enumerate(groups, start=1))
    currencies = sorted({line.amount.currency for line in lines})
    if len(currencies) > 1:
        raise MixedCurrencies(f"the plans of the period are priced in {' and '.join(currencies)}; bill them apart")
    return Rating(lines, reduce(Money.__add__, (line.amount for line in lines)))


def _groups(
    tariff: Tariff, windows: Sequence[WindowCopy], history: PlanHistory, starts_at: datetime
) -> list[tuple[Tariff, PlanVersion, list[Decimal]]]:
    """The values of the metric by plan version, in the order in which the versions were first used."""
    groups: dict[tuple[str, int], list[Decimal]] = {}
    for window in windows:
        if window.metric == tariff.metric:
            groups.setdefault(history.assigned(window.window_start), []).append(window.value)
    if not groups:
        groups[history.assigned(starts_at)] = []
    return [(tariff, history.versions[key], values) for key, values in groups.items()]


def _line(position: int, tariff: Tariff, plan: PlanVersion, values: list[Decimal]) -> Line:
    base_quantity = reduce(EXACT.add, values, Decimal(0))
    quantity = tariff.converted(base_quantity)
    unit_price = tariff.price(plan.prices)
    # `price_per` is a power of ten: the division only moves the point, and EXACT would refuse anything else.
    exact = Money(EXACT.divide(EXACT.multiply(quantity, unit_price), Decimal(tariff.price_per)), plan.currency)
    return Line(position, tariff, plan, base_quantity, len(values), quantity, unit_price, exact, exact.rounded())
