"""The HTTP API of identity. Bodies and answers are shaped here; what is allowed is decided in domain.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Final, Literal

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from libs.access.keys import KEY_ID
from libs.access.principal import Principal
from libs.access.reach import rows_of
from libs.access.request import ACT_REFUSALS, CLAIM_REFUSALS, Acting, Caller, Claimed, json_answer
from libs.access.scopes import Scope
from libs.runtime.acts import Act
from libs.runtime.errors import Forbidden, NotFound, TooLarge
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import refusals
from libs.runtime.paging import DEFAULT_LIMIT, MAX_LIMIT, MalformedCursor, Page, moment, page_of, place_of
from libs.schemas.values import AnyTenantId, Instant, Name, Zone
from libs.store.once import Answer, once
from libs.store.opening import Pools
from libs.store.pool import Tx, transaction
from services.identity import handlers, store
from services.identity.domain import KeyOrder, TenantOrder, require_reading
from services.identity.errors import (
    ExpiryNotAhead,
    PlansNotHeard,
    ScopeNotGrantable,
    TooManyKeys,
    UnknownPlan,
    UnknownTenants,
)
from services.identity.handlers import NewKey, Registrar

MAX_BODY_BYTES: Final = 65_536  # the largest order, a thousand tenant ids, takes half of it
MAX_ACT_FOR: Final = 1_000
MAKING_REFUSALS: Final = (*CLAIM_REFUSALS, *ACT_REFUSALS, Forbidden)
SHOWN_ONCE: Final = "The secret is shown once, now: it is stored nowhere."
WAS_SHOWN: Final = (
    "The secret was shown in the first answer and is stored nowhere. If it is lost, revoke this key and make another."
)

KeyId = Annotated[str, Field(pattern=rf"^{KEY_ID.pattern}$")]
PlanId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Region = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Scopes = Annotated[tuple[Scope, ...], Field(min_length=1)]

router = StrictRouter(
    prefix="/v1",
    max_body_size=MAX_BODY_BYTES,
    responses=refusals(TooLarge),
)


class Body(BaseModel):
    """What a request may say: exactly its fields, so that a misspelt one is not silently left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TenantBody(Body):
    """A tenant to register. `region` is where its data lives; by default here."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Acme", "plan_id": "starter", "billing_zone": "Europe/Berlin"}]}
    )

    name: Name
    plan_id: PlanId = "starter"
    billing_zone: Zone = "UTC"
    region: Region | None = None


class TenantKeyBody(Body):
    """A key to make for a tenant. Without `scopes` it holds what a tenant's key usually does."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "ci", "scopes": ["usage:write"], "expires_at": "2030-01-01T00:00:00Z"}]
        }
    )

    name: Name
    scopes: Scopes | None = None
    expires_at: Instant | None = None


class EdgeKeyBody(Body):
    """A key to make for a gateway, which may name the tenants of `act_for` and no others."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "edge", "name": "gateway", "act_for": ["tnt_aaaaaaaaaaaaaaaaaaaa"]}]}
    )

    kind: Literal["edge"]
    name: Name
    act_for: Annotated[tuple[AnyTenantId, ...], Field(min_length=1, max_length=MAX_ACT_FOR)]
    scopes: Scopes | None = None
    expires_at: Instant | None = None


class Shown(BaseModel):
    """What an answer shows, read from the values of the domain."""

    model_config = ConfigDict(from_attributes=True)


class TenantShown(Shown):
    """A tenant. `plan_id` is the plan asked for at registration; quota says which one is in force."""

    tenant_id: str
    name: str
    status: str
    region: str
    billing_zone: str
    plan_id: str
    created_at: Instant
    changed_at: Instant


class KeyShown(Shown):
    """An API key, without its secret."""

    key_id: str
    name: str
    kind: str
    tenant_id: str | None
    scopes: tuple[str, ...]
    act_for: tuple[str, ...]
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None


class NewKeyShown(KeyShown):
    """A key that was just made. `secret` is the whole key, once; null in the answer to a repeated request."""

    secret: str | None
    note: str


class KeyAnswer(BaseModel):
    """The answer to making a key."""

    key: NewKeyShown

    def without_secret(self) -> KeyAnswer:
        """Return what a repeated request is answered, which is also what is stored."""
        return self.model_copy(update={"key": self.key.model_copy(update={"secret": None, "note": WAS_SHOWN})})


class TenantAnswer(KeyAnswer):
    """The answer to registering a tenant: the tenant and its first key."""

    tenant: TenantShown


class Me(Shown):
    """What the key of the request is, and what it may do."""

    key_id: str
    kind: str
    tenant_id: str | None
    scopes: list[str]
    act_for: list[str]


async def registrar_of(request: Request) -> Registrar:
    """Return the registrar that the wiring put there."""
    registrar: Registrar = request.app.state.registrar
    return registrar


async def pools_of(request: Request) -> Pools:
    """Return the connections that the wiring put there."""
    pools: Pools = request.app.state.pools
    return pools


Desk = Annotated[Registrar, Depends(registrar_of)]
Db = Annotated[Pools, Depends(pools_of)]
Cursor = Annotated[str | None, Query()]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


@router.post(
    "/tenants",
    status_code=201,
    response_model=TenantAnswer,
    responses=refusals(*MAKING_REFUSALS, ScopeNotGrantable, UnknownPlan, PlansNotHeard),
)
async def register_tenant(
    body: TenantBody, caller: Caller, act: Acting, claim: Claimed, desk: Desk, db: Db
) -> Response:
    """Register a tenant and make its first key."""
    caller.require("tenants:write")
    order = TenantOrder(body.name, body.plan_id, body.billing_zone, body.region or desk.region)
    tenant_id = desk.new_tenant_id()

    async def effect(tx: Tx) -> Answer:
        tenant, key = await desk.register_tenant(tx, tenant_id, order, caller, act)
        return _created(TenantAnswer(tenant=TenantShown.model_validate(tenant), key=_new_key(key)))

    return json_answer(await once(transaction(db.api, tenant=tenant_id), claim, effect))


@router.get("/tenants", responses=refusals(Forbidden, MalformedCursor))
async def list_tenants(
    caller: Caller, db: Db, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[TenantShown]:
    """List the tenants that the key may see, oldest first: an operator all, others their own."""
    require_reading(caller)
    after = place_of(cursor, moment, str)
    async with rows_of(caller.visible, db, caller, "tenants are listed") as tx:
        rows = await store.tenants_after(tx, after, limit + 1, caller.visible)
    return page_of(rows, limit, TenantShown.model_validate, lambda row: (row.created_at, row.tenant_id))


@router.get("/tenants/{tenant_id}", responses=refusals(Forbidden, NotFound))
async def get_tenant(tenant_id: AnyTenantId, caller: Caller, db: Db) -> TenantShown:
    """Return one tenant; another's is not found."""
    require_reading(caller)
    visible_id = caller.reading(tenant_id)
    async with transaction(db.api, tenant=visible_id) as tx:
        return TenantShown.model_validate(await handlers.tenant_by_id(tx, visible_id))


@router.post(
    "/tenants/{tenant_id}/keys",
    status_code=201,
    response_model=KeyAnswer,
    responses=refusals(
        *CLAIM_REFUSALS, *ACT_REFUSALS, Forbidden, ScopeNotGrantable, NotFound, ExpiryNotAhead, TooManyKeys
    ),
)
async def issue_tenant_key(
    tenant_id: AnyTenantId, body: TenantKeyBody, caller: Caller, act: Acting, claim: Claimed, desk: Desk, db: Db
) -> Response:
    """Make another key for a tenant."""
    caller.require("keys:write")
    order = KeyOrder(
        kind="tenant",
        name=body.name,
        tenant_id=caller.reading(tenant_id),
        scopes=body.scopes,
        expires_at=body.expires_at,
    )
    opening = transaction(db.api, tenant=order.tenant_id)
    return json_answer(await once(opening, claim, _issuing(order, caller, act, desk)))


@router.post(
    "/keys",
    status_code=201,
    response_model=KeyAnswer,
    responses=refusals(
        *CLAIM_REFUSALS, *ACT_REFUSALS, Forbidden, ScopeNotGrantable, UnknownTenants, ExpiryNotAhead, TooManyKeys
    ),
)
async def issue_edge_key(
    body: EdgeKeyBody, caller: Caller, act: Acting, claim: Claimed, desk: Desk, db: Db
) -> Response:
    """Make a key for a gateway. Only an operator may: it stands for no tenant."""
    caller.require("keys:write")
    order = KeyOrder(kind="edge", name=body.name, act_for=body.act_for, scopes=body.scopes, expires_at=body.expires_at)
    opening = rows_of(caller.visible, db, caller, "a gateway's key is made", writes=True)
    return json_answer(await once(opening, claim, _issuing(order, caller, act, desk)))


@router.get("/keys", responses=refusals(Forbidden, MalformedCursor))
async def list_keys(caller: Caller, db: Db, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> Page[KeyShown]:
    """List the keys that the key may see, revoked ones included, oldest first."""
    caller.require("keys:write")
    after = place_of(cursor, moment, str)
    async with rows_of(caller.visible, db, caller, "keys are listed") as tx:
        rows = await store.keys_after(tx, after, limit + 1, caller.visible)
    return page_of(rows, limit, KeyShown.model_validate, lambda row: (row.created_at, row.key_id))


@router.delete("/keys/{key_id}", responses=refusals(*ACT_REFUSALS, Forbidden, NotFound))
async def revoke_key(key_id: KeyId, caller: Caller, act: Acting, desk: Desk, db: Db) -> KeyShown:
    """Revoke a key, for good; every edge refuses it within a second. Doing it again changes nothing."""
    caller.require("keys:write")
    async with rows_of(caller.visible, db, caller, "a key is revoked", writes=True) as tx:
        return KeyShown.model_validate(await desk.revoke_key(tx, key_id, caller, act))


@router.get("/me")
async def me(caller: Caller) -> Me:
    """Return what the key of this request is, and what it may do."""
    return Me(
        key_id=caller.key_id,
        kind=caller.kind,
        tenant_id=caller.tenant_id,
        scopes=sorted(caller.scopes),
        act_for=sorted(caller.act_for),
    )


def _issuing(order: KeyOrder, caller: Principal, act: Act, desk: Registrar) -> Callable[[Tx], Awaitable[Answer]]:
    async def effect(tx: Tx) -> Answer:
        return _created(KeyAnswer(key=_new_key(await desk.issue_key(tx, order, caller, act))))

    return effect


def _new_key(made: NewKey) -> NewKeyShown:
    return NewKeyShown(**asdict(made.key), secret=made.text, note=SHOWN_ONCE)


def _created(answer: KeyAnswer) -> Answer:
    return Answer(201, answer.model_dump_json().encode(), kept=answer.without_secret().model_dump_json().encode())
