"""From what a sender wrote to usage events with verdicts: for whom it counts, which event it is, if it can be taken.

Nothing is dropped in silence: every event is taken, rejected with a reason, or (spans only) not usage at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar

from libs.runtime.errors import Rejected
from libs.schemas import cloudevents
from libs.schemas.cloudevents import MAX_ATTRIBUTE_CHARS, CloudEvent
from libs.schemas.values import MICROSECOND, microseconds
from services.metering.domain.attributes import collect, flat, scalar
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.events import Attributes, Kind, UsageEvent
from services.metering.domain.identity import Fingerprints
from services.metering.domain.meters import Failed, Meters
from services.metering.domain.spans import Span
from services.metering.errors import BadSpan, BodyTooLarge, TooFarAhead, TooOld, WrongTenant

DEDUP_HORIZON: Final = timedelta(days=35)
PAST_BOUND: Final = DEDUP_HORIZON - timedelta(days=1)  # a day's margin for what still waits in Kafka
FUTURE_BOUND: Final = timedelta(minutes=15)  # one window: more than clocks of honest senders disagree
TENANT_ATTRIBUTE: Final = "maestro.tenant.id"
SPAN_SOURCE: Final = "otel/"
WHOLE_DATA: Final = "data"  # the attribute that holds event data which is no JSON object

_PAST_US: Final = PAST_BOUND // MICROSECOND
_FUTURE_US: Final = FUTURE_BOUND // MICROSECOND
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
_NS_PER_US: Final = 1000

T = TypeVar("T")
Names = tuple[str | None, str | None]
TenantOf = Callable[[str | None], str]
"""Returns the tenant that the sender acts for where it names one (None: it names nobody); raises Rejected."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one event of a request. `reason` is None where it was taken, else a stable code."""

    index: int
    source: str | None
    id: str | None
    reason: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class Taken:
    """What a request held. `unmetered_count` counts the spans that are not usage; they get no verdict."""

    events: list[UsageEvent] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    unmetered_count: int = 0

    @property
    def rejected(self) -> list[Verdict]:
        """The verdicts of what was not taken."""
        return [verdict for verdict in self.verdicts if verdict.reason is not None]


@dataclass(frozen=True, slots=True)
class Intake:
    """Reads the events of one request or record: `tenant_of` speaks for its sender.

    `came_us` is when it came, the same whenever it is read: it stamps events without a time and bounds how far ahead
    others may be. `now_us` bounds how old they may be, for ids are forgotten by the clock. At an edge the two are one.
    Spans that no meter looks at are left out while the meters are known well enough for that (`may_leave_out`).
    """

    fingerprints: Fingerprints
    meters: Meters
    tenant_of: TenantOf
    now_us: int
    came_us: int
    may_leave_out: bool = True

    def cloudevents(self, documents: Iterable[object]) -> Taken:
        """Read events of the structured mode, each a JSON object as decoded."""
        return self._each(documents, lambda document: self._event(cloudevents.structured(document)), _named)

    def binary(self, headers: Iterable[tuple[str, str]], content: object, prefix: str = "ce-") -> Taken:
        """Read the one event of the binary mode; its attributes are the headers that start with `prefix`."""
        pairs = list(headers)
        names = {name: dict(pairs).get(prefix + name) for name in ("source", "id")}
        return self._each([names], lambda _: self._event(cloudevents.binary(pairs, content, prefix=prefix)), _named)

    def spans(self, spans: Iterable[Span]) -> Taken:
        """Read spans; those that no meter looks at are counted and left out."""
        return self._each(spans, self._span, _identified)

    def _each(self, items: Iterable[T], read: Callable[[T], UsageEvent | None], names: Callable[[T], Names]) -> Taken:
        taken = Taken()
        for index, item in enumerate(items):
            if index >= BOUNDS.events:
                raise BodyTooLarge(f"a request holds at most {BOUNDS.events} events; send several")
            source, event_id = names(item)
            try:
                event = read(item)
                failed = None if event is None else self._useless(event)
            except Rejected as refused:
                taken.verdicts.append(Verdict(index, source, event_id, refused.code, refused.detail))
                continue
            if event is None:
                taken.unmetered_count += 1
            elif failed is not None:
                detail = f"{failed.metric}: {failed.detail}"
                taken.verdicts.append(Verdict(index, source, event_id, failed.reason, detail))
            else:
                taken.events.append(event)
                taken.verdicts.append(Verdict(index, source, event_id))
        return taken

    def _event(self, event: CloudEvent) -> UsageEvent:
        attributes = flat(event.data) if isinstance(event.data, dict) else _whole(event.data)
        time_us = None if event.time is None else microseconds(event.time)
        tenant_id = self._tenant(event.subject)
        return self._usage(tenant_id, (event.source, event.id), event.type, Kind.CLOUDEVENT, time_us, attributes)

    def _span(self, span: Span) -> UsageEvent | None:
        unreadable = span.unreadable or span.origin.unreadable
        if unreadable is not None:
            raise BadSpan(unreadable)
        kind = _KIND_OF_OTLP.get(span.kind, Kind.SPAN_UNSPECIFIED)
        attributes = dict(span.attributes)
        inherited = [(name, value) for name, value in span.origin.attributes if name not in attributes]
        attributes.update(inherited)
        # Only names are looked at so far: most spans of a trace are not usage, and cost no more than this.
        if not self.meters.may_measure(kind, attributes.keys()):
            return None if self.may_leave_out else self._passed_on(span, kind, inherited)
        taken = collect([*span.attributes, *inherited])
        if not self.meters.measures(kind, span.name, taken):
            return None if self.may_leave_out else self._passed_on(span, kind, inherited)
        return self._span_usage(span, kind, taken)

    def _passed_on(self, span: Span, kind: Kind, inherited: Sequence[tuple[str, object]]) -> UsageEvent | None:
        """Return a span that a meter unknown here may look at, None where it could not be usage of any meter."""
        try:
            return self._span_usage(span, kind, collect([*span.attributes, *inherited]))
        except Rejected:
            return None

    def _span_usage(self, span: Span, kind: Kind, taken: Attributes) -> UsageEvent:
        named = taken.get(TENANT_ATTRIBUTE)
        tenant_id = self._tenant(None if named is None else str(named))
        name = span.name[:MAX_ATTRIBUTE_CHARS].replace("\x00", "\ufffd")
        return self._usage(tenant_id, _identity(span), name, kind, _ended_us(span), taken)

    def _usage(
        self,
        tenant_id: str,
        identity: tuple[str, str],
        event_type: str,
        kind: Kind,
        time_us: int | None,
        attributes: Attributes,
    ) -> UsageEvent:
        source, event_id = identity
        # Before the digest: a time out of bounds may have more digits than can be encoded.
        standing_us = self._timely(self.came_us if time_us is None else time_us)
        return UsageEvent(
            key=self.fingerprints.key(tenant_id, source, event_id),
            digest=self.fingerprints.body(event_type, kind, time_us, attributes),
            tenant_id=tenant_id,
            source=source,
            id=event_id,
            type=event_type,
            kind=kind,
            time_us=standing_us,
            time_stamped=time_us is None,
            attributes=attributes,
        )

    def _timely(self, time_us: int) -> int:
        if time_us < self.now_us - _PAST_US:
            raise TooOld(
                f"an event is at most {PAST_BOUND.days} days old when it comes; use a backfill for older usage"
            )
        if time_us > min(self.came_us, self.now_us) + _FUTURE_US:
            minutes = FUTURE_BOUND // timedelta(minutes=1)
            raise TooFarAhead(f"an event lies at most {minutes} minutes in the future; check the sender's clock")
        return time_us

    def _tenant(self, named: str | None) -> str:
        try:
            return self.tenant_of(named)
        except Rejected as refused:
            raise WrongTenant(refused.detail) from refused

    def _useless(self, event: UsageEvent) -> Failed | None:
        # Taken as long as one meter can take it: a meter that fails does not drop the event for the others.
        if not self.may_leave_out:
            return None
        outcomes = self.meters.outcomes(event)
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        return failed[0] if failed and len(failed) == len(outcomes) else None


def _named(document: object) -> Names:
    if not isinstance(document, dict):
        return None, None
    source, event_id = document.get("source"), document.get("id")
    return _shown(source), _shown(event_id)


def _shown(value: object) -> str | None:
    return value[:MAX_ATTRIBUTE_CHARS] if isinstance(value, str) else None


def _identified(span: Span) -> Names:
    return SPAN_SOURCE + span.origin.service[:MAX_ATTRIBUTE_CHARS], span.trace_id.hex() + span.span_id.hex()


def _identity(span: Span) -> tuple[str, str]:
    source = SPAN_SOURCE + span.origin.service
    if len(source) > MAX_ATTRIBUTE_CHARS or "\x00" in source:
        raise BadSpan(f"`service.name` has at most {MAX_ATTRIBUTE_CHARS - len(SPAN_SOURCE)} characters and no NUL")
    if len(span.trace_id) != _TRACE_ID_BYTES or len(span.span_id) != _SPAN_ID_BYTES:
        raise BadSpan("a span has a trace id of 16 bytes and a span id of 8 bytes")
    if not any(span.trace_id) or not any(span.span_id):
        raise BadSpan("the trace id and the span id of a span are not all zero")
    return source, span.trace_id.hex() + span.span_id.hex()


def _ended_us(span: Span) -> int:
    if span.end_ns <= 0 or span.end_ns < span.start_ns:
        raise BadSpan("a span ends at or after its start; usage counts when the call is over")
    return span.end_ns // _NS_PER_US


def _whole(content: object) -> Attributes:
    return {} if content is None else {WHOLE_DATA: scalar(content)}


_KIND_OF_OTLP: Final = {
    1: Kind.SPAN_INTERNAL,
    2: Kind.SPAN_SERVER,
    3: Kind.SPAN_CLIENT,
    4: Kind.SPAN_PRODUCER,
    5: Kind.SPAN_CONSUMER,
}
