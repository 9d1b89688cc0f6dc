"""Usage over HTTP: two ways in (OTLP, CloudEvents), and totals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Final, Literal
from urllib.parse import unquote

from fastapi import Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from libs.access.errors import TenantRequired
from libs.access.principal import Principal
from libs.access.request import Caller
from libs.runtime.errors import Forbidden, NotFound
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import raw_body, refusals
from libs.runtime.paging import DEFAULT_LIMIT, MAX_LIMIT, MalformedCursor, encode_cursor, moment, place_of
from libs.schemas.events import Metric
from libs.schemas.values import Instant, Quantity
from libs.schemas.zones import TZDATA_VERSION
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.calendar import WindowSize, length_of
from services.metering.domain.documented import EVENT_BODIES, JSON, PROTOBUF, SPAN_ANSWERS, SPAN_BODIES
from services.metering.domain.exports import export_answer
from services.metering.domain.intake import Intake, Taken, Verdict
from services.metering.domain.modes import media_of, reader_of
from services.metering.domain.outcomes import Outcome, preferred_wait_s
from services.metering.domain.spans import from_protobuf
from services.metering.domain.spans_json import from_json
from services.metering.errors import (
    BadBody,
    BadQuery,
    BodyTooLarge,
    BodyTooSlow,
    IntakeFull,
    TooMuchWaiting,
    UnsupportedMedia,
)
from services.metering.handlers.edge import Gate, Load, UsageEdge, sender_of
from services.metering.handlers.explaining import Explaining
from services.metering.handlers.queries import Queries, Question, Total
from services.metering.handlers.waiting import MAX_EVENTS, Waiting

_LENGTH_DIGITS: Final = 12  # of a content-length that is worth reading

INTAKE_REFUSALS: Final = refusals(
    BadBody, Forbidden, BodyTooSlow, BodyTooLarge, UnsupportedMedia, IntakeFull, TooMuchWaiting
)

router = StrictRouter()


class UsageAsked(BaseModel):
    """The query of totals: whole windows that touch [from, to), times in RFC 3339 with an offset.

    Months begin on `anchor_day`, on their last day where they are shorter. With `over` (90m, 24h, 30d) each total is of
    the range of that length that ends with its window: a sliding query, in steps of `window`.
    """

    metric: Metric
    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")
    window: WindowSize = "day"
    tz: str = "UTC"
    anchor_day: int = Field(1, ge=1, le=31)
    over: str | None = None
    tenant: str | None = None
    cursor: str | None = None
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class TotalShown(BaseModel):
    """One window: [start, end), and its exact total in the unit of the answer."""

    start: Instant
    end: Instant
    value: Quantity
    is_complete: bool


class UsageShown(BaseModel):
    """Totals of one metric. `unit` is "1", or "By.us" (byte-microseconds) for a gauge.

    All usage up to `watermark_at` is counted; null while that is not known.
    """

    tenant_id: str
    metric: Metric
    unit: Literal["1", "By.us"]
    window: WindowSize
    tz: str
    tzdata_version: str
    watermark_at: Instant | None
    items: list[TotalShown]
    next_cursor: str | None


class VerdictShown(BaseModel):
    """What became of one event of a request; a rejected one has a stable `reason` and a `detail`."""

    index: int
    source: str | None
    id: str | None
    verdict: Literal["accepted", "rejected"]
    reason: str | None = None
    detail: str | None = None
    outcome: Literal["counted", "duplicate", "conflict", "pending"] | None = Field(
        None, description="of an accepted one, where the sender preferred to wait for it"
    )


class VerdictsShown(BaseModel):
    """A verdict for every event of a request, in its order."""

    results: list[VerdictShown]


async def edge_of(request: Request) -> UsageEdge:
    """Return the edge that the wiring put there."""
    edge: UsageEdge = request.app.state.edge
    return edge


async def gate_of(request: Request) -> Gate:
    """Return the gate that the wiring put there."""
    gate: Gate = request.app.state.gate
    return gate


async def queries_of(request: Request) -> Queries:
    """Return what answers questions, which the wiring put there."""
    queries: Queries = request.app.state.queries
    return queries


async def explaining_of(request: Request) -> Explaining:
    """Return what explains from the archive, which the wiring put there."""
    explaining: Explaining = request.app.state.explaining
    return explaining


async def waiting_of(request: Request) -> Waiting:
    """Return what waits for commits, which the wiring put there."""
    waiting: Waiting = request.app.state.waiting
    return waiting


Edge = Annotated[UsageEdge, Depends(edge_of)]
Bounded = Annotated[Gate, Depends(gate_of)]
Preferences = Annotated[list[str] | None, Header(description="`wait=2`: for how long to wait (RFC 7240)")]
Patient = Annotated[Waiting, Depends(waiting_of)]
Asking = Annotated[Queries, Depends(queries_of)]
FromArchive = Annotated[Explaining, Depends(explaining_of)]


@router.post(
    "/v1/traces",
    response_class=Response,
    responses={
        200: {"description": "taken; what was rejected is in `partialSuccess`", "content": SPAN_ANSWERS},
        **INTAKE_REFUSALS,
    },
    openapi_extra=raw_body(SPAN_BODIES, "An OTLP export of spans; Content-Encoding may be gzip or zstd."),
)
async def export_traces(request: Request, caller: Caller, edge: Edge, gate: Bounded) -> Response:
    """Take an OTLP export of spans, protobuf or JSON; answer in the same encoding, once usage is durable."""
    caller.require("usage:write")
    edge.require_room(caller)
    media = _media_of(request)
    if media not in {JSON, PROTOBUF}:
        raise UnsupportedMedia(f"content-type {media[:64]!r}: send {PROTOBUF} or {JSON}")
    decode = from_json if media == JSON else from_protobuf
    async with _body_of(request, gate, sender_of(caller)) as body:
        taken = edge.intake(caller.tenant).spans(decode(body))
        await edge.keep(taken)
    return Response(export_answer(taken, as_json=media == JSON), media_type=media)


@router.post(
    "/api/v1/events",
    response_class=Response,
    status_code=204,
    responses={207: {"description": "a verdict for each event, in order", "model": VerdictsShown}, **INTAKE_REFUSALS},
    openapi_extra=raw_body(EVENT_BODIES, "CloudEvents 1.0; Content-Encoding may be gzip or zstd."),
)
async def ingest_events(
    request: Request,
    caller: Caller,
    edge: Edge,
    gate: Bounded,
    waiting: Patient,
    prefer: Preferences = None,
) -> Response:
    """Take CloudEvents (structured, batch or binary): 204 where all are taken, else 207 with a verdict for each.

    With `Prefer: wait=2` the answer waits so many seconds at most, and tells of each what became of it.
    """
    caller.require("usage:write")
    edge.require_room(caller)
    read = _reader_of(request)
    wait_s = preferred_wait_s(prefer or ())
    with waiting.place(is_wanted=wait_s is not None) as is_free:
        async with _body_of(request, gate, sender_of(caller)) as body:
            taken = read(edge.intake(caller.tenant), body)
            waits = is_free and len(taken.events) <= MAX_EVENTS
            before = await waiting.stood(taken.events) if waits else {}
            await edge.keep(taken)
        if waits and wait_s is not None:
            found = await waiting.outcomes(taken.events, before, wait_s)
            return _verdicts(taken, found, {"preference-applied": f"wait={wait_s}"})
    return _verdicts(taken) if taken.rejected else Response(status_code=204)


def _verdicts(taken: Taken, found: Sequence[Outcome] = (), headers: dict[str, str] | None = None) -> Response:
    outcomes = iter(found)
    results = [_verdict(one, next(outcomes, None) if one.reason is None else None) for one in taken.verdicts]
    return JSONResponse({"results": results}, status_code=207, headers=headers)


@router.get("/v1/usage", responses=refusals(Forbidden, NotFound, MalformedCursor, TenantRequired, BadQuery))
async def get_usage(asked: Annotated[UsageAsked, Query()], caller: Caller, queries: Asking) -> UsageShown:
    """Return totals by window, in order."""
    caller.require("usage:read")
    tenant_id = readable(caller, asked.tenant)
    (start,) = place_of(asked.cursor, moment) or (asked.start,)
    over = None if asked.over is None else length_of(asked.over)
    question = Question(
        tenant_id, asked.metric, asked.window, asked.tz, start, asked.end, anchor_day=asked.anchor_day, over=over
    )
    found = await queries.totals(question, asked.limit)
    return UsageShown(
        tenant_id=tenant_id,
        metric=asked.metric,
        unit="By.us" if asked.metric == "storage_gb" else "1",
        window=asked.window,
        tz=asked.tz,
        tzdata_version=TZDATA_VERSION,
        watermark_at=found.watermark_at,
        items=[_total(one) for one in found.items],
        next_cursor=None if found.next_start is None else encode_cursor((found.next_start,)),
    )


def _reader_of(request: Request) -> Callable[[Intake, bytes], Taken]:
    """Return what reads the body in the mode that the headers say; raise UnsupportedMedia for another."""
    headers = [(name, unquote(value)) for name, value in request.headers.items()]
    return reader_of(_media_of(request), headers, "ce-")


def _media_of(request: Request) -> str:
    return media_of(request.headers.get("content-type", ""))


@asynccontextmanager
async def _body_of(request: Request, gate: Gate, sender: str) -> AsyncIterator[bytes]:
    """Hold the inflated body within all bounds while the block runs."""
    _refuse_declared(request)
    with gate.enter(sender) as load:
        received = await _receive(request, load, gate.receive_s)
        yield load.inflated(received, _encoding_of(request))


def _encoding_of(request: Request) -> str:
    # Said in one header or in several, two encodings are two: the first alone would hide the other.
    return ", ".join(request.headers.getlist("content-encoding")).strip().lower()


def _refuse_declared(request: Request) -> None:
    """Refuse a body that is over the bound by its own header, before any of it is read."""
    declared = request.headers.get("content-length", "")
    readable = declared.isascii() and declared.isdecimal() and len(declared) <= _LENGTH_DIGITS
    if readable and int(declared) > BOUNDS.sent_bytes:
        raise BodyTooLarge(f"a body has at most {BOUNDS.sent_bytes} bytes; send several")


async def _receive(request: Request, load: Load, within_s: float) -> bytes:
    try:
        async with asyncio.timeout(within_s):
            return b"".join([load.received(chunk) async for chunk in request.stream()])
    except TimeoutError as error:
        raise BodyTooSlow(f"a body comes within {within_s:g} seconds; send smaller ones") from error
    except ClientDisconnect as error:
        raise BadBody("the sender left before the end of the body") from error


def _verdict(one: Verdict, outcome: Outcome | None) -> dict[str, object]:
    verdict: dict[str, object] = {"index": one.index, "source": one.source, "id": one.id}
    if one.reason is None:
        told = {} if outcome is None else {"outcome": outcome.value}
        return verdict | {"verdict": "accepted"} | told
    return verdict | {"verdict": "rejected", "reason": one.reason, "detail": one.detail}


def readable(caller: Principal, named: str | None) -> str:
    """Return the tenant whose usage is asked for; raise NotFound for one that the caller cannot see, TenantRequired."""
    tenant_id = caller.tenant(None) if named is None else caller.reading(named)
    if not caller.is_known(tenant_id):
        raise NotFound("there is no such thing, or it is not yours")
    return tenant_id


def _total(one: Total) -> TotalShown:
    return TotalShown(start=one.bucket.start, end=one.bucket.end, value=one.value, is_complete=one.is_complete)
