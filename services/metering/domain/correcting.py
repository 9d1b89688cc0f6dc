"""Corrections of events that stand: what one counted, what it is to count, and what that changes.

A void counts nothing; an amendment counts the event with other attributes. Tenant, source, id and time stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from services.metering.domain.events import Attributes, UsageEvent
from services.metering.domain.folding import Adjustment, Closed, ClosedPeriod, WindowKey, exact_sum, fold
from services.metering.domain.meters import Counted, Failed, Meters, Sampled

Action = Literal["void", "amend"]

ALREADY_VOID: Final = "the event is void already"

_JSON: Final = msgspec.json.Encoder()
_ATTRIBUTES: Final = msgspec.json.Decoder(Attributes)


Last = tuple[Action, Attributes | None]
"""What the last applied correction of an event says."""


class Correction(NamedTuple):
    """Of the event under `key`, with this digest and time; `attributes` are those of an amendment."""

    correction_id: UUID
    tenant_id: str
    key: bytes
    digest: int
    time_us: int
    action: Action
    attributes: Attributes | None


class Effect(NamedTuple):
    """What an event counts by one meter: an amount, or the level of a resource."""

    metric: str
    amount: int | Decimal
    resource: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a correction makes of an event: as it counted before, and as it counts after; or why it is refused."""

    correction: Correction
    before: UsageEvent | None = None
    after: UsageEvent | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class CorrectedAmount:
    """By how much a correction changes a window of a closed period."""

    correction: Correction
    event: UsageEvent
    metric: str
    amount: int | Decimal
    closed: ClosedPeriod


@dataclass(slots=True)
class Changes:
    """What corrections change: sums of open windows (differences), closed windows, samples taken out and put in."""

    sums: dict[WindowKey, int | Decimal] = field(default_factory=dict)
    adjustments: list[CorrectedAmount] = field(default_factory=list)
    removed: list[tuple[UsageEvent, Sampled]] = field(default_factory=list)
    added: list[tuple[UsageEvent, Sampled]] = field(default_factory=list)


def written(attributes: Attributes) -> str:
    """Return attributes as they are kept."""
    return _JSON.encode(attributes).decode()


def read(text: str) -> Attributes:
    """Return attributes as they were kept."""
    return _ATTRIBUTES.decode(text)


def corrected(event: UsageEvent, last: Last | None) -> UsageEvent | None:
    """Return the event as its last correction has it, as it came where there is none, and None where that is a void."""
    if last is None:
        return event
    _, attributes = last
    return None if attributes is None else msgspec.structs.replace(event, attributes=attributes)


def as_corrected(events: Iterable[UsageEvent], last: Mapping[tuple[bytes, int], Last]) -> Iterable[UsageEvent]:
    """Return the events as they count, given by key and time what their last corrections say."""
    if not last:
        return events
    stand = (corrected(event, last.get((event.key, event.time_us))) for event in events)
    return [event for event in stand if event is not None]


def decide(correction: Correction, original: UsageEvent, before: UsageEvent | None, meters: Meters) -> Decision:
    """Decide over a correction of an event that counts as `before` now."""
    after = corrected(original, (correction.action, correction.attributes))
    refused = _useless(after, meters) if after else ALREADY_VOID if before is None else None
    return Decision(correction, refused=refused) if refused else Decision(correction, before, after)


def effects(event: UsageEvent | None, meters: Meters) -> list[Effect]:
    """Return what an event counts, meter by meter; what none can take counts nothing."""
    found: list[Effect] = []
    for outcome in [] if event is None else meters.outcomes(event):
        if isinstance(outcome, Counted):
            found.append(Effect(outcome.metric, outcome.amount))
        elif isinstance(outcome, Sampled):
            found.append(Effect(outcome.metric, outcome.level, outcome.resource))
    return found


def changes(decisions: Iterable[Decision], meters: Meters, closed: Closed) -> Changes:
    """Return what decisions over different events change."""
    found = Changes()
    for one in decisions:
        before = fold([one.before] if one.before else [], meters, closed)
        after = fold([one.after] if one.after else [], meters, closed)
        for window, amount in _difference(before.sums, after.sums).items():
            found.sums[window] = exact_sum(found.sums.get(window, 0), amount)
        found.adjustments += _adjusted(one, before.adjustments, after.adjustments)
        found.removed += before.samples
        found.added += after.samples
    found.sums = {window: amount for window, amount in found.sums.items() if amount}
    return found


def _difference(
    before: Mapping[WindowKey, int | Decimal], after: Mapping[WindowKey, int | Decimal]
) -> dict[WindowKey, int | Decimal]:
    return {window: exact_sum(after.get(window, 0), _negated(before.get(window, 0))) for window in {**before, **after}}


def _adjusted(one: Decision, before: list[Adjustment], after: list[Adjustment]) -> Iterable[CorrectedAmount]:
    """Yield the differences by metric: the time of an event stays, so all lie in one window of one closed period."""
    amounts = {adjustment.metric: _negated(adjustment.amount) for adjustment in before}
    for adjustment in after:
        amounts[adjustment.metric] = exact_sum(amounts.get(adjustment.metric, 0), adjustment.amount)
    for adjustment in {any_of.metric: any_of for any_of in (*before, *after)}.values():
        amount = amounts[adjustment.metric]
        if amount:
            yield CorrectedAmount(one.correction, adjustment.event, adjustment.metric, amount, adjustment.closed)


def _negated(amount: int | Decimal) -> int | Decimal:
    return amount.copy_negate() if isinstance(amount, Decimal) else -amount  # a minus would round to 28 digits


def _useless(event: UsageEvent, meters: Meters) -> str | None:
    """Return why no meter takes the event, None where one does."""
    outcomes = meters.outcomes(event)
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    if len(failed) < len(outcomes):
        return None
    if failed:
        return f"{failed[0].metric}: {failed[0].detail}"
    return "no meter looks at the event as it would be; void it to take it out"
