"""The totals of any meter over HTTP."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import Query
from pydantic import BaseModel, Field

from libs.access.errors import TenantRequired
from libs.access.request import Caller
from libs.runtime.errors import Forbidden, NotFound
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import refusals
from libs.runtime.paging import DEFAULT_LIMIT, MAX_LIMIT, MalformedCursor, encode_cursor, moment, place_of
from libs.schemas.values import Instant, Quantity
from libs.schemas.zones import TZDATA_VERSION
from services.metering.api.meters import Desk
from services.metering.api.usage import Asking, readable
from services.metering.domain.calendar import WindowSize, length_of
from services.metering.domain.meters import Aggregation, MeterName
from services.metering.errors import BadQuery
from services.metering.handlers.queries import Question, Total

router = StrictRouter()


class MeterUsageAsked(BaseModel):
    """The query of a meter's totals: see GET /v1/usage, which asks the same of what is billed."""

    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")
    window: WindowSize = "day"
    tz: str = "UTC"
    anchor_day: int = Field(1, ge=1, le=31)
    over: str | None = None
    tenant: str | None = None
    cursor: str | None = None
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class MeterTotalShown(BaseModel):
    """One window: [start, end), and its exact total in the unit of the answer."""

    start: Instant
    end: Instant
    value: Quantity | None = Field(description="null where there is no usage that has a greatest or last value")
    is_complete: bool

    @classmethod
    def of(cls, one: Total) -> Self:
        """Show a total."""
        return cls(start=one.bucket.start, end=one.bucket.end, value=one.value, is_complete=one.is_complete)


class MeterUsageShown(BaseModel):
    """Totals of one meter. `unit` is "By.us" (byte-microseconds) for what is weighed by time, else "1".

    All usage up to `watermark_at` is counted; null while that is not known.
    """

    tenant_id: str
    meter: str
    aggregation: Aggregation
    unit: str
    window: WindowSize
    tz: str
    tzdata_version: str
    watermark_at: Instant | None
    items: list[MeterTotalShown]
    next_cursor: str | None


@router.get(
    "/v1/meters/{name}/usage", responses=refusals(Forbidden, NotFound, MalformedCursor, TenantRequired, BadQuery)
)
async def get_meter_usage(
    name: MeterName, asked: Annotated[MeterUsageAsked, Query()], caller: Caller, queries: Asking, desk: Desk
) -> MeterUsageShown:
    """Return a meter's totals by window, in order."""
    caller.require("usage:read")
    tenant_id = readable(caller, asked.tenant)
    meter = await desk.require(name)
    (start,) = place_of(asked.cursor, moment) or (asked.start,)
    over = None if asked.over is None else length_of(asked.over)
    question = Question(
        tenant_id, name, asked.window, asked.tz, start, asked.end, anchor_day=asked.anchor_day, over=over
    )
    found = await queries.totals(question, asked.limit)
    return MeterUsageShown(
        tenant_id=tenant_id,
        meter=name,
        aggregation=meter.aggregation,
        unit="By.us" if meter.is_gauge else "1",
        window=asked.window,
        tz=asked.tz,
        tzdata_version=TZDATA_VERSION,
        watermark_at=found.watermark_at,
        items=[MeterTotalShown.of(one) for one in found.items],
        next_cursor=None if found.next_start is None else encode_cursor((found.next_start,)),
    )
