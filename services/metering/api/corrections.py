"""Corrections over HTTP: asked for, and looked at. They are answered by a loop (handlers/correcting.py)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from libs.access.errors import TenantRequired, WrongTenant
from libs.access.reach import rows_of
from libs.access.request import ACT_REFUSALS, CLAIM_REFUSALS, Acting, Caller, Claimed, json_answer
from libs.runtime.errors import Forbidden, NotFound, TooLarge
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import refusals
from libs.runtime.paging import DEFAULT_LIMIT, MAX_LIMIT, MalformedCursor, Page, moment, page_of, place_of
from libs.schemas.cloudevents import MAX_ATTRIBUTE_CHARS
from libs.schemas.values import Instant, Quantity, from_microseconds
from libs.store.once import Answer, once
from libs.store.opening import Pools
from libs.store.pool import Tx
from services.metering.domain.attributes import flat
from services.metering.domain.bodies import json_of
from services.metering.domain.events import Attributes
from services.metering.errors import (
    BadAttributes,
    BadBody,
    BodyTooLarge,
    CorrectionRaced,
    NoArchive,
    UnknownCorrection,
    UnknownEvent,
)
from services.metering.handlers.asking import Asking
from services.metering.store import corrections
from services.metering.store.corrections import Kept, Shown

PATH: Final = "/v1/corrections"
MAX_BODY_BYTES: Final = 131_072  # twice what an event's attributes can take

EventText = Annotated[str, Field(min_length=1, max_length=MAX_ATTRIBUTE_CHARS, pattern=r"^[^\x00]*$")]

router = StrictRouter(max_body_size=MAX_BODY_BYTES)


class CorrectionBody(BaseModel):
    """Void the event, or amend it: count it with `data` in place of what it came with.

    Of a span `data` are its attributes, those of its resource included. Numbers are read with all their digits.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"action": "void", "source": "shop", "id": "order-7"},
                {"action": "amend", "source": "shop", "id": "order-7", "data": {"maestro.ingest.events": 3}},
            ]
        },
    )

    action: Literal["void", "amend"]
    source: EventText
    id: EventText
    tenant: str | None = Field(None, max_length=64)
    data: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if (self.action == "amend") != (self.data is not None):
            raise ValueError("an amendment has `data`, and a void has none")
        return self


class CorrectionsAsked(BaseModel):
    """Whose corrections, or of which event: then `source` and `id` are both given."""

    tenant: str | None = None
    source: EventText | None = None
    id: EventText | None = None
    cursor: str | None = None
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)

    @model_validator(mode="after")
    def _names_an_event(self) -> Self:
        if (self.source is None) != (self.id is None):
            raise ValueError("an event has a `source` and an `id`: give both, or neither")
        return self


class EffectShown(BaseModel):
    """What an event counts by one meter: an amount, or the level of `resource`."""

    metric: str
    amount: Quantity
    resource: str | None

    @classmethod
    def of(cls, effect: Shown) -> Self:
        """Show an effect."""
        return cls(metric=effect.metric, amount=effect.amount, resource=effect.resource)


class CorrectionShown(BaseModel):
    """A correction of one event. `number` counts the event's; `waits_for` says why it is not answered yet.

    `before` and `after` are what the event counted, and counts since it was applied. `detail` says why it was refused.
    """

    correction_id: UUID
    tenant_id: str
    source: str
    id: str
    time: Instant
    number: int
    action: Literal["void", "amend"]
    data: dict[str, str | int | bool | None] | None
    actor: str
    reason: str
    requested_at: Instant
    state: Literal["requested", "applied", "refused"]
    waits_for: str | None
    before: list[EffectShown]
    after: list[EffectShown]
    detail: str | None
    decided_at: Instant | None

    @classmethod
    def of(cls, kept: Kept) -> Self:
        """Show a correction."""
        return cls(
            correction_id=kept.correction_id,
            tenant_id=kept.tenant_id,
            source=kept.source,
            id=kept.event_id,
            time=from_microseconds(kept.time_us),
            number=kept.number,
            action=kept.action,
            data=kept.attributes,
            actor=kept.actor,
            reason=kept.reason,
            requested_at=kept.requested_at,
            state=kept.state,
            waits_for=kept.waits_for,
            before=[EffectShown.of(one) for one in kept.before],
            after=[EffectShown.of(one) for one in kept.after],
            detail=kept.detail,
            decided_at=kept.decided_at,
        )


async def asking_of(request: Request) -> Asking:
    """Return what the wiring put there."""
    asking: Asking = request.app.state.correcting
    return asking


async def pools_of(request: Request) -> Pools:
    """Return the connections that the wiring put there."""
    pools: Pools = request.app.state.pools
    return pools


Desk = Annotated[Asking, Depends(asking_of)]
Db = Annotated[Pools, Depends(pools_of)]


@router.post(
    PATH,
    status_code=202,
    response_class=Response,
    responses={
        202: {"description": "kept; Location says where it is seen", "model": CorrectionShown},
        **refusals(
            *(*ACT_REFUSALS, *CLAIM_REFUSALS, Forbidden, TenantRequired, WrongTenant, NotFound, UnknownEvent),
            *(BadAttributes, BadBody, TooLarge, BodyTooLarge, CorrectionRaced, NoArchive),
        ),
    },
)
async def ask_correction(
    body: CorrectionBody, request: Request, caller: Caller, act: Acting, claim: Claimed, desk: Desk, db: Db
) -> Response:
    """Ask for the correction of an event that is counted; Maestro-Reason says why. It is answered once archived."""
    caller.require("usage:correct")
    tenant_id = caller.tenant(body.tenant)
    attributes = None if body.data is None else _attributes(await request.body())

    async def effect(tx: Tx) -> Answer:
        kept = await desk.ask(tx, tenant_id, (body.source, body.id), attributes, act)
        return Answer(202, CorrectionShown.of(kept).model_dump_json().encode())

    opening = rows_of({tenant_id}, db, caller, "a correction is asked for", writes=True)
    answer = await once(opening, claim, effect)
    response = json_answer(answer)
    response.headers["location"] = f"{PATH}/{CorrectionShown.model_validate_json(answer.body).correction_id}"
    return response


@router.get(PATH, responses=refusals(Forbidden, NotFound, MalformedCursor, TenantRequired))
async def list_corrections(
    asked: Annotated[CorrectionsAsked, Query()], caller: Caller, desk: Desk, db: Db
) -> Page[CorrectionShown]:
    """List corrections, the newest first: of a tenant, or of one of its events (`source` and `id`)."""
    caller.require("usage:read", "usage:correct")
    place = place_of(asked.cursor, moment, UUID)
    tenants = caller.visible if asked.tenant is None else frozenset({caller.reading(asked.tenant)})
    key = None
    if asked.source is not None and asked.id is not None:
        key = desk.fingerprints.key(caller.tenant(asked.tenant), asked.source, asked.id)
    async with rows_of(tenants, db, caller, "corrections are listed") as tx:
        found = await corrections.before_place(tx, tenants, key, place, asked.limit + 1)
    return page_of(found, asked.limit, CorrectionShown.of, lambda one: (one.requested_at, one.correction_id))


@router.get(PATH + "/{correction_id}", responses=refusals(Forbidden, UnknownCorrection))
async def get_correction(correction_id: UUID, caller: Caller, db: Db) -> CorrectionShown:
    """Return one correction: what it waits for, or what became of it."""
    caller.require("usage:read", "usage:correct")
    async with rows_of(caller.visible, db, caller, "a correction is read") as tx:
        found = await corrections.by_id(tx, correction_id)
    if found is None or not caller.sees(found.tenant_id):
        raise UnknownCorrection("there is no such correction, or it is not yours")
    return CorrectionShown.of(found)


def _attributes(body: bytes) -> Attributes:
    # Read again: FastAPI's decoder makes floats of numbers, and a float has lost digits.
    document = json_of(body)
    assert isinstance(document, dict)
    return flat(document["data"])
