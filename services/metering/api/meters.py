"""The meters over HTTP: what counts, since when, and the next version of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Self

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from libs.access.request import ACT_REFUSALS, Acting, Caller
from libs.runtime.acts import Act
from libs.runtime.errors import Forbidden, NotFound, TooLarge
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import refusals
from libs.schemas.values import Instant
from services.metering.domain.meters import MeterName, MeterSpec
from services.metering.errors import BadMeter, MeterMoved, MetersFull
from services.metering.handlers.meter_versions import MeterDesk, Wanted
from services.metering.store.meters import Kept

MAX_BODY_BYTES: Final = 65_536

router = StrictRouter(max_body_size=MAX_BODY_BYTES, responses=refusals(TooLarge))


class MeterBody(BaseModel):
    """The next version of a meter, after number `follows`: 0 for a new one. `effective_from`: as soon as can be."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "follows": 0,
                    "spec": {
                        "aggregation": "SUM",
                        "match": {"kinds": ["cloudevent"], "types": ["com.example.export.finished"]},
                        "amount": {"attribute": "bytes", "whole": True},
                    },
                }
            ]
        },
    )

    follows: int = Field(ge=0, description="the version that was looked at")
    spec: MeterSpec
    effective_from: Instant | None = Field(None, description="the start of a quarter of an hour, far enough ahead")


class RetireBody(BaseModel):
    """The end of a meter whose newest version is `follows`."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [{"follows": 1}]})

    follows: int = Field(ge=1)
    effective_from: Instant | None = None


class MeterShown(BaseModel):
    """One version: in force from `effective_from` until the next one of its name is."""

    name: str
    version: int
    spec: MeterSpec
    is_retired: bool
    effective_from: Instant
    created_at: Instant

    @classmethod
    def of(cls, kept: Kept) -> Self:
        """Show a version."""
        one = kept.version
        return cls(
            name=one.name,
            version=one.number,
            spec=one.document.spec,
            is_retired=one.is_retired,
            effective_from=one.effective_from,
            created_at=kept.created_at,
        )


class MetersShown(BaseModel):
    """The newest version of each meter, by name."""

    items: list[MeterShown]


class VersionShown(MeterShown):
    """A version, and who made it; these two are for operators, and null for others."""

    actor: str | None
    reason: str | None


class VersionsShown(BaseModel):
    """All versions of a meter, oldest first."""

    items: list[VersionShown]


class ChangeShown(MeterShown):
    """A version that was made, or would be (`dry_run`)."""

    dry_run: bool


async def desk_of(request: Request) -> MeterDesk:
    """Return the desk of meters, which the wiring put there."""
    desk: MeterDesk = request.app.state.meter_desk
    return desk


Desk = Annotated[MeterDesk, Depends(desk_of)]
DryRun = Annotated[bool, Query(description="check, say what would be, and change nothing")]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a meter, which may be for show."""

    desk: MeterDesk
    response: Response
    dry_run: bool

    async def made(self, wanted: Wanted, act: Act) -> ChangeShown:
        """Make the change, or find that it stands; raise what the desk raises."""
        kept, is_new = await self.desk.put(wanted, act, dry_run=self.dry_run)
        if self.dry_run or not is_new:
            self.response.status_code = 200
        return ChangeShown(**MeterShown.of(kept).model_dump(), dry_run=self.dry_run)


async def change_of(desk: Desk, response: Response, dry_run: DryRun = False) -> Change:
    """Return what a request that changes a meter asks for."""
    return Change(desk, response, dry_run)


Changing = Annotated[Change, Depends(change_of)]


@router.get("/v1/meters", responses=refusals(Forbidden))
async def list_meters(caller: Caller, desk: Desk) -> MetersShown:
    """List the meters, each in its newest version."""
    caller.require("usage:read", "meters:write")
    return MetersShown(items=[MeterShown.of(versions[-1]) for versions in await desk.all()])


@router.get("/v1/meters/{name}", responses=refusals(Forbidden, NotFound))
async def get_meter(name: MeterName, caller: Caller, desk: Desk) -> VersionsShown:
    """Return all versions of a meter."""
    caller.require("usage:read", "meters:write")
    is_operator = caller.kind == "operator"
    return VersionsShown(items=[_version(kept, is_operator) for kept in await desk.one(name)])


@router.put(
    "/v1/meters/{name}",
    status_code=201,
    responses={
        200: {"description": "it stands already, or would be made (`dry_run`)", "model": ChangeShown},
        **refusals(Forbidden, BadMeter, MeterMoved, MetersFull, *ACT_REFUSALS),
    },
)
async def put_meter(name: MeterName, body: MeterBody, caller: Caller, act: Acting, change: Changing) -> ChangeShown:
    """Make the next version of a meter. The same once more changes nothing."""
    caller.require("meters:write")
    return await change.made(Wanted(name, body.follows, body.spec, body.effective_from), act)


@router.post(
    "/v1/meters/{name}/retire",
    status_code=201,
    responses={
        200: {"description": "it is retired already, or would be (`dry_run`)", "model": ChangeShown},
        **refusals(Forbidden, NotFound, BadMeter, MeterMoved, *ACT_REFUSALS),
    },
)
async def retire_meter(name: MeterName, body: RetireBody, caller: Caller, act: Acting, change: Changing) -> ChangeShown:
    """End a meter: later events do not count for it; what was counted stays."""
    caller.require("meters:write")
    return await change.made(Wanted(name, body.follows, None, body.effective_from), act)


def _version(kept: Kept, is_operator: bool) -> VersionShown:
    told = {"actor": kept.actor, "reason": kept.reason} if is_operator else {"actor": None, "reason": None}
    return VersionShown(**MeterShown.of(kept).model_dump(), **told)
