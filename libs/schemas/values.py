"""Value types with one meaning each. Constructors refuse what cannot be: naive times, floats, endless numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Annotated, Final, NewType

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, StringConstraints, WithJsonSchema

from libs.runtime.errors import Rejected
from libs.schemas.zones import ZONE_NAME, zone

TenantId = NewType("TenantId", str)
TENANT_ID: Final = re.compile(r"tnt_[a-z2-7]{20}")

MONTH_PATTERN: Final = r"[12][0-9]{3}-(0[1-9]|1[0-2])"
GRAIN: Final = timedelta(minutes=15)  # every zone's days and months can be summed from quarters of an hour
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

DECIMAL_TEXT: Final = re.compile(r"[+-]?[0-9]{1,60}(\.[0-9]{1,60})?([eE][+-]?[0-9]{1,2})?")
MAX_DIGITS: Final = 38
MAX_SCALE: Final = 18
EXACT: Final = Context(prec=76, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])  # sums of 38-digit numbers
_MINOR_UNITS: Final = Context(prec=76, rounding=ROUND_HALF_UP)  # as wide as EXACT, and allowed to round


class BadNumber(Rejected):
    """A number that cannot be taken exactly."""

    code = "bad_number"
    title = "The number cannot be taken exactly"


class BadPeriod(Rejected):
    """A period that is not a calendar month."""

    code = "bad_period"
    title = "The period is not a calendar month"


def decimal_of(value: object) -> Decimal:
    """Return `value` (int, Decimal or decimal text) exactly, at most 38 digits and 18 decimals; floats are refused."""
    if isinstance(value, bool | float) or not isinstance(value, int | str | Decimal):
        raise BadNumber(f"{value!r} is not an integer or a decimal string")
    if isinstance(value, str) and DECIMAL_TEXT.fullmatch(value) is None:
        raise BadNumber("write a number as -12.5 or 1.5e3; NaN, infinity and separators are refused")
    number = Decimal(value)
    if not number.is_finite():
        raise BadNumber("NaN and infinity are not quantities")
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    if -exponent > MAX_SCALE or len(digits) + max(exponent, 0) > MAX_DIGITS:
        raise BadNumber(f"a number has at most {MAX_DIGITS} digits, {MAX_SCALE} of them after the point")
    return number


def plain(number: Decimal) -> str:
    """Return `number` without exponent and without trailing zeros: the one text form of a quantity."""
    if not number:
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def aware(moment: datetime) -> datetime:
    """Return `moment` in UTC; raise ValueError for a naive one, or one outside the years of UTC."""
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset (…Z or …+02:00)")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time lies in the years 1 to 9999 of UTC") from error


def microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970-01-01T00:00:00Z."""
    return (moment - EPOCH) // MICROSECOND


def from_microseconds(count: int) -> datetime:
    """Return the instant `count` microseconds after 1970-01-01T00:00:00Z."""
    return EPOCH + timedelta(microseconds=count)


def rfc3339(moment: datetime) -> str:
    """Return `moment` as RFC 3339 text in UTC with a Z, six decimals only where needed."""
    return aware(moment).isoformat().replace("+00:00", "Z")


def window_of(moment: datetime) -> datetime:
    """Return the start of the quarter of an hour that holds `moment`."""
    return moment - (moment - EPOCH) % GRAIN


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar month of a billing zone, as the half-open interval [starts_at, ends_at) in UTC."""

    name: str
    zone: str
    starts_at: datetime
    ends_at: datetime

    @classmethod
    def month(cls, name: str, zone_name: str) -> Period:
        """Return the month `name` ("2026-11") in the IANA zone `zone_name`; raise BadPeriod otherwise."""
        if re.fullmatch(MONTH_PATTERN, name) is None:
            raise BadPeriod(f"{name!r} is not a month: write it as 2026-11")
        year, month = int(name[:4]), int(name[5:])
        following = (year + month // 12, month % 12 + 1)
        return cls(name, zone_name, _midnight(year, month, zone_name), _midnight(*following, zone_name))

    @property
    def first_day(self) -> date:
        """The first local day."""
        return self.starts_at.astimezone(zone(self.zone)).date()

    @property
    def last_day_exclusive(self) -> date:
        """The local day on which the next period starts."""
        return self.ends_at.astimezone(zone(self.zone)).date()


def _midnight(year: int, month: int, zone_name: str) -> datetime:
    # Where midnight does not exist (a clock put forward at 00:00) the offset before the change is used: fold=0.
    return datetime(year, month, 1, tzinfo=zone(zone_name)).astimezone(UTC)


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount in a currency (ISO 4217). Exact; becomes minor units only in `rounded`."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        """Refuse floats and unknown currencies."""
        if not isinstance(self.amount, Decimal) or not self.amount.is_finite():
            raise BadNumber("an amount is a finite Decimal")
        if self.currency not in MINOR_DIGITS:
            raise BadNumber(f"{self.currency!r} is not a currency that we bill in")

    def __add__(self, other: Money) -> Money:
        """Add exactly; the currencies must agree."""
        if other.currency != self.currency:
            raise BadNumber(f"cannot add {other.currency} to {self.currency}")
        return Money(EXACT.add(self.amount, other.amount), self.currency)

    def rounded(self) -> Money:
        """Return the amount in whole minor units, halves away from zero: the only place where money rounds."""
        step = Decimal(1).scaleb(-MINOR_DIGITS[self.currency])
        return Money(self.amount.quantize(step, context=_MINOR_UNITS), self.currency)


# Minor digits by ISO 4217; grows with the currencies that plans are sold in.
MINOR_DIGITS: Final = {"USD": 2, "EUR": 2, "GBP": 2, "JPY": 0, "KWD": 3}


def _tenant_id(text: str) -> TenantId:
    if TENANT_ID.fullmatch(text) is None:
        raise ValueError("a tenant id is tnt_ and twenty characters of a-z, 2-7")
    return TenantId(text)


def _zone(name: str) -> str:
    return zone(name).key


# What a validator checks, its JSON Schema says: the generated contracts are compared by it.
_TENANT_ID_SCHEMA: Final = {"type": "string", "pattern": f"^{TENANT_ID.pattern}$"}
_INSTANT_SCHEMA: Final = {"type": "string", "format": "date-time", "description": "RFC 3339 with an offset; we write Z"}
_QUANTITY_SCHEMA: Final = {"type": "string", "pattern": f"^{DECIMAL_TEXT.pattern}$", "description": "an exact decimal"}
_ZONE_SCHEMA: Final = {"type": "string", "pattern": f"^{ZONE_NAME.pattern}$", "description": "an IANA time zone"}

AnyTenantId = Annotated[TenantId, AfterValidator(_tenant_id), WithJsonSchema(_TENANT_ID_SCHEMA)]
Instant = Annotated[
    datetime, AfterValidator(aware), PlainSerializer(rfc3339, return_type=str), WithJsonSchema(_INSTANT_SCHEMA)
]
Quantity = Annotated[
    Decimal, BeforeValidator(decimal_of), PlainSerializer(plain, return_type=str), WithJsonSchema(_QUANTITY_SCHEMA)
]
Zone = Annotated[str, AfterValidator(_zone), WithJsonSchema(_ZONE_SCHEMA)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
