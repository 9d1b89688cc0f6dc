"""Meters: which events count, and as how much. They are configuration; nothing here knows the three default ones.

A meter is a document (`kind: Meter`, `metadata`, `spec`) of a YAML file. Each meter decides for itself: where one
cannot take an event, the others still do.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Sequence
from decimal import Decimal
from enum import Enum
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError, model_validator

from libs.runtime.errors import Rejected
from libs.schemas.cloudevents import MAX_ATTRIBUTE_CHARS
from libs.schemas.values import Quantity, decimal_of
from services.metering.domain.events import MAX_NAME_CHARS, MAX_TEXT_CHARS, Attributes, Kind, UsageEvent
from services.metering.errors import BadAmount, BadMeter

# An amount has at most 18 digits before the point and 12 after it: a hundred million of the largest still sum up within
# the 38 digits that a quantity has, and 2^53 + 1 and 1e-12 are both exact.
AMOUNT_BOUND: Final = Decimal(10) ** 18
AMOUNT_SCALE: Final = 12
MAX_RESOURCE_CHARS: Final = 256
DEFAULT_STALENESS_S: Final = 86_400
MAX_STALENESS_S: Final = 31 * 86_400
MAX_CONDITIONS: Final = 32  # of one kind, of one meter

_FAST_BELOW: Final = 10**18
MAX_SHAPES: Final = 4_096  # that are remembered: sets of attributes a sender's events have are few
MAX_TEXTS: Final = 4_096  # amounts as text that are remembered, of one meter


K = TypeVar("K")
V = TypeVar("V")


MeterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Type = Annotated[str, Field(max_length=MAX_ATTRIBUTE_CHARS)]
Value = Annotated[str, Field(max_length=MAX_TEXT_CHARS)] | StrictInt | StrictBool
Condition = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]


class Aggregation(Enum):
    """How amounts become the total of a window."""

    COUNT = "COUNT"
    SUM = "SUM"
    TIME_WEIGHTED = "TIME_WEIGHTED"


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(_Spec):
    """Which events a meter looks at; every condition that is given must hold."""

    kinds: tuple[Literal["cloudevent", "span"], ...] = ("cloudevent", "span")
    span_kinds: tuple[Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"], ...] = ()
    types: tuple[Type, ...] = Field(
        (), max_length=MAX_CONDITIONS, description="CloudEvents types, or span names; empty means any"
    )
    present: tuple[Condition, ...] = Field((), max_length=MAX_CONDITIONS, description="attributes that must exist")
    equal: dict[Condition, Value] = Field(
        default_factory=dict, max_length=MAX_CONDITIONS, description="attributes that must have this value"
    )

    def event_kinds(self) -> frozenset[Kind]:
        """Return the kinds of event that this admits."""
        spans = {Kind[f"SPAN_{name}"] for name in self.span_kinds} or set(Kind) - {Kind.CLOUDEVENT}
        admitted = spans if "span" in self.kinds else set()
        return frozenset(admitted | ({Kind.CLOUDEVENT} if "cloudevent" in self.kinds else set()))


class Amount(_Spec):
    """Where the number comes from. An event without the attribute does not match."""

    attribute: Condition
    minimum: Quantity = Decimal(0)
    whole: bool = False


class MeterSpec(_Spec):
    """What a meter does."""

    aggregation: Aggregation
    match: Match = Match()
    amount: Amount | None = Field(None, description="the number that counts; COUNT takes none")
    resource: Condition | None = Field(None, description="TIME_WEIGHTED: the attribute that names whose level it is")
    max_staleness_s: int = Field(
        DEFAULT_STALENESS_S, ge=900, le=MAX_STALENESS_S, description="TIME_WEIGHTED: a sample holds this long at most"
    )

    @model_validator(mode="after")
    def _holds_together(self) -> MeterSpec:
        if (self.aggregation is Aggregation.COUNT) != (self.amount is None):
            raise ValueError("COUNT takes no `amount`; SUM and TIME_WEIGHTED need one")
        if self.resource is not None and self.aggregation is not Aggregation.TIME_WEIGHTED:
            raise ValueError("`resource` belongs to TIME_WEIGHTED")
        if self.aggregation is Aggregation.TIME_WEIGHTED and not (self.amount and self.amount.whole):
            raise ValueError("TIME_WEIGHTED integrates whole numbers: set `amount.whole`")
        return self


class Metadata(_Spec):
    """Name and version of a document."""

    name: MeterName
    version: int = Field(1, ge=1)


class MeterDocument(_Spec):
    """One document of a meter file."""

    kind: Literal["Meter"]
    metadata: Metadata
    spec: MeterSpec


class Counted(msgspec.Struct, frozen=True, gc=False):
    """Add `amount` to the window of the event."""

    metric: str
    amount: int | Decimal


class Sampled(msgspec.Struct, frozen=True, gc=False):
    """From the event's time on, `resource` stands at `level` (a whole number)."""

    metric: str
    resource: str
    level: int


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The meter matches and cannot take the event; `reason` is a stable code, `detail` says what is wrong."""

    metric: str
    reason: str
    detail: str


Outcome: TypeAlias = Counted | Sampled | Failed
Shape: TypeAlias = tuple[object, ...]
"""What most conditions look at: the kind of an event, its type if a meter names it, the names of its attributes."""


class Meter:
    """One meter, ready to look at events."""

    def __init__(self, document: MeterDocument) -> None:
        """Take the document apart once, so that looking at an event is a few look-ups."""
        spec = document.spec
        self.document = document
        self.metric: str = document.metadata.name
        self.aggregation = spec.aggregation
        self.max_staleness_us = spec.max_staleness_s * 1_000_000
        self._amount = spec.amount
        self._resource = spec.resource
        self._kinds = spec.match.event_kinds()
        self.types = frozenset(spec.match.types)
        self._present = frozenset(spec.match.present) | ({spec.amount.attribute} if spec.amount else set())
        self._equal = tuple(spec.match.equal.items())
        self._one = Counted(self.metric, 1)
        self._texts: dict[str, Counted] = {}

    @property
    def is_gauge(self) -> bool:
        """Whether it weighs levels by time."""
        return self.aggregation is Aggregation.TIME_WEIGHTED

    def may_match(self, kind: Kind, names: KeysView[str]) -> bool:
        """Return whether an event of this kind with attributes of these names can match."""
        return kind in self._kinds and names >= self._present

    def matches(self, kind: Kind, event_type: str, attributes: Attributes) -> bool:
        """Return whether the meter looks at such an event."""
        return (
            self.may_match(kind, attributes.keys())
            and (not self.types or event_type in self.types)
            and self.is_equal(attributes)
        )

    def is_equal(self, attributes: Attributes) -> bool:
        """Return whether all attributes that must have a value have it."""
        return not self._equal or all(attributes.get(name) == value for name, value in self._equal)

    def outcome(self, attributes: Attributes) -> Outcome:
        """Return what a matching event with these attributes does."""
        if self._amount is None:
            return self._one
        value = attributes.get(self._amount.attribute)
        if type(value) is str and (known := self._texts.get(value)) is not None:
            return known
        try:
            amount = _amount(value, self._amount)
            if self.aggregation is Aggregation.TIME_WEIGHTED:
                return Sampled(self.metric, self._resource_of(attributes), int(amount))
        except Rejected as refused:
            return Failed(self.metric, refused.code, refused.detail)
        counted = Counted(self.metric, amount)
        if type(value) is str:
            _remember(self._texts, value, counted, MAX_TEXTS)
        return counted

    def _resource_of(self, attributes: Attributes) -> str:
        named = "" if self._resource is None else attributes.get(self._resource, "")
        resource = "" if named is None else str(named)
        if len(resource) > MAX_RESOURCE_CHARS or "\x00" in resource:
            raise BadAmount(f"`{self._resource}` has at most {MAX_RESOURCE_CHARS} characters and no NUL")
        return resource


class Meters:
    """All meters in force."""

    def __init__(self, meters: Iterable[Meter]) -> None:
        """Take the meters; their names must differ."""
        self._meters: Sequence[Meter] = tuple(meters)
        self.by_metric = {meter.metric: meter for meter in self._meters}
        if len(self.by_metric) != len(self._meters):
            raise BadMeter("two meters have one name")
        self._types = frozenset(name for meter in self._meters for name in meter.types)
        self._looking: dict[Shape, Sequence[Meter]] = {}

    def may_measure(self, kind: Kind, names: KeysView[str]) -> bool:
        """Return whether an event of this kind with attributes of these names can be usage."""
        return any(meter.may_match(kind, names) for meter in self._meters)

    def measures(self, kind: Kind, event_type: str, attributes: Attributes) -> bool:
        """Return whether any meter looks at such an event: whether it is usage."""
        return any(meter.matches(kind, event_type, attributes) for meter in self._meters)

    def outcomes(self, event: UsageEvent) -> Sequence[Outcome]:
        """Return what each matching meter makes of the event, one by one."""
        attributes = event.attributes
        shape = (event.kind, event.type if event.type in self._types else "", *attributes)
        looking = self._looking.get(shape)
        if looking is None:
            looking = self._looking_at(event)
            _remember(self._looking, shape, looking, MAX_SHAPES)
        return [meter.outcome(attributes) for meter in looking if meter.is_equal(attributes)]

    def _looking_at(self, event: UsageEvent) -> Sequence[Meter]:
        """Return the meters that look at events of this kind, type, and names of attributes."""
        names = event.attributes.keys()
        return tuple(
            meter
            for meter in self._meters
            if meter.may_match(event.kind, names) and (not meter.types or event.type in meter.types)
        )

    def documents(self) -> list[MeterDocument]:
        """Return what they were made of."""
        return [meter.document for meter in self._meters]

    def gauges(self) -> dict[str, Meter]:
        """Return the time-weighted meters by metric."""
        return {metric: meter for metric, meter in self.by_metric.items() if meter.is_gauge}


def _amount(value: object, spec: Amount) -> int | Decimal:
    if type(value) is int and 0 <= value < _FAST_BELOW and not spec.minimum:
        return value  # the common case; the checks below would all pass
    amount = decimal_of(value)
    _, _, exponent = amount.as_tuple()
    assert isinstance(exponent, int)
    if amount < spec.minimum:
        raise BadAmount(f"`{spec.attribute}` must be at least {spec.minimum}")
    if abs(amount) >= AMOUNT_BOUND or -exponent > AMOUNT_SCALE:
        raise BadAmount(f"`{spec.attribute}` must be below {AMOUNT_BOUND:f} and have at most {AMOUNT_SCALE} decimals")
    if amount != int(amount):
        if spec.whole:
            raise BadAmount(f"`{spec.attribute}` must be a whole number")
        return amount
    return int(amount)


def _remember(known: dict[K, V], key: K, value: V, most: int) -> None:
    """Keep what was found, and no more than `most`: whoever sends ever new ones has them looked at each time."""
    if len(known) >= most:
        known.clear()
    known[key] = value


def meters_of(text: str) -> Meters:
    """Return the meters of a YAML text of one document per meter; raise BadMeter naming what is wrong."""
    try:
        documents = [MeterDocument.model_validate(document) for document in yaml.safe_load_all(text)]
    except (yaml.YAMLError, ValidationError) as error:
        raise BadMeter(f"the meter file is wrong: {error}") from error
    if not documents:
        raise BadMeter("the meter file holds no meter")
    return Meters(Meter(document) for document in documents)
