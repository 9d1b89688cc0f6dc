"""The events behind a total, over HTTP: each with what it counted for, in pages."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from libs.access.errors import TenantRequired
from libs.access.request import Caller
from libs.runtime.errors import Forbidden, NotFound
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import refusals
from libs.runtime.paging import DEFAULT_LIMIT, MAX_LIMIT, MalformedCursor, encode_cursor, place_of
from libs.schemas.values import Instant, Quantity, from_microseconds
from services.metering.api.meters import Desk
from services.metering.api.usage import FromArchive, readable
from services.metering.domain.calendar import require_grain
from services.metering.domain.correcting import Action
from services.metering.domain.lists import Place, place_in_time
from services.metering.domain.meters import MeterName
from services.metering.errors import ArchiveAway, BadQuery, LookupsFull, LookupTooSlow
from services.metering.handlers.explaining import Behind, Wanted

MADE_OF_IT: Final[dict[Action, Literal["voided", "amended"]]] = {"void": "voided", "amend": "amended"}

router = StrictRouter()


class EventsAsked(BaseModel):
    """Which total: of one metric, over [from, to), both on a quarter of an hour, times in RFC 3339 with an offset."""

    metric: MeterName
    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")
    tenant: str | None = None
    cursor: str | None = None
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class EventBehind(BaseModel):
    """An event, and for how much it counts in its window.

    `adjustment` is what it counts beside the windows of the closed period `adjusts`: because it came late, or was
    corrected after the close. `corrected` says what the last correction made of it.
    """

    source: str
    id: str
    type: str
    time: Instant
    amount: Quantity
    adjustment: Quantity
    adjusts: str | None
    corrected: Literal["voided", "amended"] | None


class EventsShown(BaseModel):
    """The events behind a total, by time, source and id; a page may be short and still have one behind it.

    Where `unit` is "1", amounts add up, over all pages, to `total`, and adjustments to `adjusted`, as far as the
    archive is: it holds all that was taken in up to `archived_to` (null: not known now). Where it is "By", amounts are
    the levels that samples said, those from as long before `from` as a level holds too.
    """

    tenant_id: str
    metric: str
    unit: Literal["1", "By"]
    total: Quantity
    adjusted: Quantity
    archived_to: Instant | None
    items: list[EventBehind]
    next_cursor: str | None


@router.get(
    "/v1/usage/events",
    responses=refusals(
        *(Forbidden, NotFound, MalformedCursor, TenantRequired, BadQuery),
        *(ArchiveAway, LookupsFull, LookupTooSlow),
    ),
)
async def list_events(
    asked: Annotated[EventsAsked, Query()], caller: Caller, explaining: FromArchive, desk: Desk
) -> EventsShown:
    """List the events behind a total. Copies and conflicts do not count and are not listed."""
    caller.require("usage:read")
    tenant_id = readable(caller, asked.tenant)
    require_grain(asked.start, asked.end)
    meter = await desk.require(asked.metric)
    key = place_of(asked.cursor, place_in_time, str, str)
    found = await explaining.events(
        Wanted(
            *(tenant_id, asked.metric, asked.start, asked.end),
            reach_us=meter.max_staleness_us if meter.is_gauge else None,
            after=None if key is None else Place(*key),
        ),
        asked.limit,
    )
    return EventsShown(
        tenant_id=tenant_id,
        metric=asked.metric,
        unit="By" if meter.is_gauge else "1",
        total=found.counted.total,
        adjusted=found.counted.adjusted,
        archived_to=found.archived_to,
        items=[_event(one) for one in found.items],
        next_cursor=None if found.after is None else encode_cursor(found.after),
    )


def _event(one: Behind) -> EventBehind:
    return EventBehind(
        source=one.place.source,
        id=one.place.event_id,
        type=one.event_type,
        time=from_microseconds(one.place.time_us),
        amount=one.amount,
        adjustment=Decimal(0) if one.adjusted is None else one.adjusted.value,
        adjusts=None if one.adjusted is None else one.adjusted.period,
        corrected=None if one.corrected is None else MADE_OF_IT[one.corrected.action],
    )
