"""What became of one event, over HTTP: all that the store and the archive know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import unquote

from fastapi import Request
from pydantic import BaseModel, Field

from libs.access.errors import TenantRequired
from libs.access.request import Caller
from libs.runtime.errors import Forbidden, NotFound
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import refusals
from libs.schemas.values import Instant, Quantity, from_microseconds
from services.metering.api.corrections import CorrectionShown
from services.metering.api.usage import Asking, FromArchive, readable
from services.metering.domain.events import window_of_us
from services.metering.handlers.explaining import Explained
from services.metering.store.corrections import Kept
from services.metering.store.ids import History

EVENTS_PATH: Final = "/v1/events/"

router = StrictRouter()


class OtherBodyShown(BaseModel):
    """What came under the same id with another body or time. It is not counted."""

    type: str
    time: Instant
    count: int


class FailureShown(BaseModel):
    """A meter that looks at such events and could not take this one."""

    metric: str
    reason: str
    detail: str


class AdjustmentShown(BaseModel):
    """The event came after this period was closed."""

    metric: str
    period: str


class CountedShown(BaseModel):
    """What a meter made of the event when it came: an amount for its window, or the level that it says, of a gauge."""

    metric: str
    amount: Quantity
    window_start: Instant


class ClosedShown(BaseModel):
    """The close after which the windows of a period stand."""

    close_id: str
    period: str


class EventShown(BaseModel):
    """What became of an event. `unknown`: not counted yet, or longer ago than ids are kept.

    `corrected` says what the last correction that was applied made of it. `archive` says what the rest was told from:
    `read`, and `type`, `counted` and `set_aside` are what there is to say; `waiting`, where the event is counted and
    not archived yet; or `away`, where the archive cannot be read now.
    """

    source: str
    id: str
    status: Literal["counted", "adjustment", "unknown"]
    corrected: Literal["voided", "amended"] | None
    time: Instant | None
    window_start: Instant | None
    duplicate_count: int
    conflicts: list[OtherBodyShown]
    failures: list[FailureShown]
    adjustments: list[AdjustmentShown]
    corrections: list[CorrectionShown]
    archive: Literal["read", "waiting", "away"]
    type: str | None
    counted: list[CountedShown] = Field(description="by each meter that took it; none where no meter did")
    closed: ClosedShown | None = Field(description="the closed period that holds its time, null while that is open")
    set_aside: str | None = Field(description="why it counts nowhere, where the record that holds it was set aside")


@router.get("/v1/events/{source_and_id:path}", responses=refusals(Forbidden, NotFound, TenantRequired))
async def explain_event(
    source_and_id: str,
    request: Request,
    caller: Caller,
    queries: Asking,
    explaining: FromArchive,
    tenant: str | None = None,
) -> EventShown:
    """Say what became of the event `<source>/<id>`. Percent-encode both, slashes included."""
    caller.require("usage:read")
    tenant_id = readable(caller, tenant)
    source, event_id = _event_named(request)
    if not source or not event_id:
        raise NotFound(f"{source_and_id[:64]!r} is not <source>/<id> of an event")
    history, kept = await queries.event(tenant_id, source, event_id)
    key = queries.fingerprints.key(tenant_id, source, event_id)
    explained = await explaining.event(tenant_id, key, history.time_us)
    return _event(source, event_id, history, kept, explained)


def _event_named(request: Request) -> tuple[str, str]:
    # The path as it was sent: decoding it first would make slashes inside a source look like separators.
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode("ascii")
    source, _, event_id = raw.decode("ascii").partition("?")[0].removeprefix(EVENTS_PATH).rpartition("/")
    return unquote(source), unquote(event_id)


def _event(source: str, event_id: str, history: History, corrected: Sequence[Kept], explained: Explained) -> EventShown:
    standing = history.time_us
    status: Literal["counted", "adjustment", "unknown"] = "adjustment" if history.adjusted_in else "counted"
    return EventShown(
        source=source,
        id=event_id,
        status="unknown" if standing is None else status,
        corrected=_corrected(history, corrected),
        time=None if standing is None else from_microseconds(standing),
        window_start=None if standing is None else from_microseconds(window_of_us(standing)),
        duplicate_count=history.copies,
        conflicts=[
            OtherBodyShown(type=one.type, time=from_microseconds(one.time_us), count=one.copies)
            for one in history.conflicts
        ],
        failures=[FailureShown(metric=one.metric, reason=one.reason, detail=one.detail) for one in history.failures],
        adjustments=[AdjustmentShown(metric=metric, period=period) for metric, period in history.adjusted_in],
        corrections=[CorrectionShown.of(one) for one in corrected],
        archive=explained.archive,
        type=None if explained.body is None else explained.body.event_type,
        counted=_counted(explained, standing),
        closed=_closed(explained),
        set_aside=explained.set_aside,
    )


def _corrected(history: History, kept: Sequence[Kept]) -> Literal["voided", "amended"] | None:
    applied = [one for one in kept if one.state == "applied" and one.time_us == history.time_us]
    if not applied:
        return None
    return "voided" if applied[-1].action == "void" else "amended"


def _counted(explained: Explained, time_us: int | None) -> list[CountedShown]:
    if explained.body is None or time_us is None:
        return []
    window_start = from_microseconds(window_of_us(time_us))
    return [
        CountedShown(metric=metric, amount=amount, window_start=window_start)
        for metric, amount in sorted(explained.body.amounts.items())
    ]


def _closed(explained: Explained) -> ClosedShown | None:
    closed = explained.closed
    return None if closed is None else ClosedShown(close_id=closed.close_id, period=closed.period)
