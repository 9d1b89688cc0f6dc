"""The rules of identity: pure functions over values. What is decided becomes rows and facts in handlers.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from libs.access.keys import ApiKey, Randomness, base32_id
from libs.access.principal import Principal
from libs.access.scopes import ACTING_SCOPES, DEFAULT_SCOPES, GRANTABLE_SCOPES, OPERATOR_SCOPES, Scope
from libs.bus.audit import Change
from libs.runtime.errors import Broken, Forbidden
from libs.schemas.events import KeyChanged, KeyKind, TenantChanged
from libs.schemas.values import TenantId
from services.identity.errors import (
    ExpiryNotAhead,
    PlansNotHeard,
    ScopeNotGrantable,
    TooManyKeys,
    UnknownPlan,
    UnknownTenants,
)

# Live keys: of a tenant the one in use and the one that replaces it, so that no forgotten key stays good; of all edges
# as many as every service holds in memory without a thought.
MAX_LIVE_KEYS: Final = {"tenant": 2, "edge": 1_000}
MAX_PLANS: Final = 10_000
FIRST_KEY_NAME: Final = "first key"
OPERATOR_KEY_NAME: Final = "operator of the set-up"

_TICK: Final = timedelta(microseconds=1)
_TENANT_ID_BYTES: Final = 13  # 104 bits give 21 base32 characters, of which an id takes twenty
_TENANT_ID_CHARS: Final = 20

KeyAction = Literal["key.issued", "key.adopted", "key.revoked"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer. `plan_id` is the plan asked for at registration; quota owns which one is in force."""

    tenant_id: TenantId
    name: str
    status: Literal["active", "suspended"]
    region: str
    billing_zone: str
    plan_id: str
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """An API key, live or revoked. `digest` is SHA-256 of its text in hex; the text itself is nowhere."""

    key_id: str
    name: str
    digest: str
    kind: KeyKind
    tenant_id: TenantId | None
    scopes: tuple[str, ...]
    act_for: tuple[TenantId, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class TenantOrder:
    """What is asked for a new tenant."""

    name: str
    plan_id: str
    billing_zone: str
    region: str


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """What is asked for a new key: of a tenant (`tenant_id`), or of an edge that may name those in `act_for`.

    `scopes` None: what the kind holds by default.
    """

    kind: Literal["tenant", "edge"]
    name: str
    tenant_id: TenantId | None = None
    act_for: tuple[TenantId, ...] = ()
    scopes: tuple[Scope, ...] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store says when a key is ordered: which of the tenants named exist, how many live keys there are."""

    known: frozenset[TenantId] = frozenset()
    live_count: int = 0


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """The operator's key as set-up made it: its id and digest. Set-up keeps the text, identity never sees it."""

    key_id: str
    digest: str


class KnownPlans:
    """The ids of all plans that quota has published, kept in memory. Plans are only ever added."""

    def __init__(self, *, bound: int = MAX_PLANS) -> None:
        """Start with none; take at most `bound`."""
        self._ids: set[str] = set()
        self._bound = bound

    def add(self, plan_id: str) -> None:
        """Learn a plan; raise Broken past the bound."""
        if plan_id not in self._ids and len(self._ids) >= self._bound:
            raise Broken(f"more than {self._bound} plans were published: raise MAX_PLANS if they are real")
        self._ids.add(plan_id)

    def require(self, plan_id: str) -> None:
        """Raise UnknownPlan unless the plan is known, PlansNotHeard while none is."""
        if not self._ids:
            raise PlansNotHeard("quota has published no plan yet; try again")
        if plan_id not in self._ids:
            raise UnknownPlan(f"there is no plan {plan_id!r}", plan_id=plan_id)


def new_tenant_id(randomness: Randomness) -> TenantId:
    """Return an id that nobody can guess from another: 100 random bits."""
    return TenantId("tnt_" + base32_id(randomness, _TENANT_ID_BYTES)[:_TENANT_ID_CHARS])


def require_reading(caller: Principal) -> None:
    """Raise Forbidden unless the key may read tenants at all. Its own tenant's entry is open to every key of it."""
    if caller.visible is None:
        caller.require("tenants:read")


def register(order: TenantOrder, tenant_id: TenantId, plans: KnownPlans, now: datetime) -> Tenant:
    """Return the new tenant; raise UnknownPlan or PlansNotHeard."""
    plans.require(order.plan_id)
    return Tenant(
        tenant_id=tenant_id,
        name=order.name,
        status="active",
        region=order.region,
        billing_zone=order.billing_zone,
        plan_id=order.plan_id,
        created_at=now,
        changed_at=now,
    )


def issue_key(order: KeyOrder, key: ApiKey, standing: Standing, granter: Principal, now: datetime) -> Key:
    """Return the new key.

    Raises:
        Forbidden: only an operator makes an edge's key, which stands for no tenant.
        UnknownTenants: an edge would act for a tenant that there is not.
        ScopeNotGrantable: the order asks for more than the kind can hold or the granter holds.
        TooManyKeys: there are MAX_LIVE_KEYS of them already.
        ExpiryNotAhead: the key would be expired at once.

    """
    if order.kind == "edge" and granter.kind != "operator":
        raise Forbidden("only an operator's key can make a key for a gateway")
    _require_known(order.act_for, standing.known)
    scopes = _granted(order, granter)
    _require_room(order.kind, standing.live_count)
    if order.expires_at is not None and order.expires_at <= now:
        raise ExpiryNotAhead("`expires_at` must lie ahead; leave it out for a key that does not expire")
    return Key(
        key_id=key.key_id,
        name=order.name,
        digest=key.digest.hex(),
        kind=order.kind,
        tenant_id=order.tenant_id,
        scopes=scopes,
        act_for=tuple(dict.fromkeys(order.act_for)),
        created_at=now,
        expires_at=order.expires_at,
        revoked_at=None,
        changed_at=now,
    )


def revoke(key: Key, now: datetime) -> Key:
    """Return the key as revoked at `now`; one that is revoked already stays as it is. There is no way back."""
    if key.revoked_at is not None:
        return key
    changed_at = _after(key, now)
    return replace(key, revoked_at=changed_at, changed_at=changed_at)


def adopt_operator_key(given: OperatorKey, held: Sequence[Key], now: datetime) -> list[Key]:
    """Return the keys that change so that `given` is the one live key of the set-up; `held` are those it has had.

    Nothing changes where it is held already, nor where it was revoked: a revoked key does not come back by a restart.
    """
    mine = next((key for key in held if key.key_id == given.key_id), None)
    if mine is not None and mine.revoked_at is not None:
        return []
    wanted = _operator_key(given, mine, now)
    others = [key for key in held if key.key_id != given.key_id and key.revoked_at is None]
    return ([] if wanted == mine else [wanted]) + [revoke(key, now) for key in others]


def tenant_fact(tenant: Tenant) -> TenantChanged:
    """Return what everyone is told about the tenant."""
    return TenantChanged(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        status=tenant.status,
        region=tenant.region,
        billing_zone=tenant.billing_zone,
        plan_id=tenant.plan_id,
        changed_at=tenant.changed_at,
    )


def key_fact(key: Key) -> KeyChanged:
    """Return what every edge is told about the key. Its name stays here: names may say who holds it."""
    return KeyChanged(
        key_id=key.key_id,
        digest=key.digest,
        kind=key.kind,
        tenant_id=key.tenant_id,
        scopes=key.scopes,
        act_for=key.act_for,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        changed_at=key.changed_at,
    )


def registration(tenant: Tenant) -> Change:
    """Return what the record of changes says of a registered tenant."""
    details = {"plan_id": tenant.plan_id, "region": tenant.region, "billing_zone": tenant.billing_zone}
    subject = tenant_subject(tenant.tenant_id)
    return Change("tenant.registered", subject, tenant.changed_at, tenant.tenant_id, details)


def key_change(action: KeyAction, key: Key) -> Change:
    """Return what the record of changes says of a key."""
    details = {"kind": key.kind, "scopes": " ".join(key.scopes)}
    return Change(action, key_subject(key.key_id), key.changed_at, key.tenant_id, details)


def tenant_subject(tenant_id: TenantId) -> str:
    """Return how records and topic keys name a tenant."""
    return f"tenant/{tenant_id}"


def key_subject(key_id: str) -> str:
    """Return how records and topic keys name an API key."""
    return f"key/{key_id}"


def _require_known(act_for: Sequence[TenantId], known: Collection[TenantId]) -> None:
    unknown = [tenant_id for tenant_id in act_for if tenant_id not in known]
    if unknown:
        raise UnknownTenants(f"there is no tenant {', '.join(unknown[:3])}", unknown=unknown)


def _granted(order: KeyOrder, granter: Principal) -> tuple[str, ...]:
    scopes = DEFAULT_SCOPES[order.kind] if order.scopes is None else order.scopes
    # An operator speaks for no tenant itself, and makes the keys of those who do.
    grantable = granter.scopes | ACTING_SCOPES if granter.kind == "operator" else granter.scopes
    refused = sorted(set(scopes) - (GRANTABLE_SCOPES[order.kind] & grantable))
    if refused:
        raise ScopeNotGrantable(
            f"a key of kind {order.kind} made with this key cannot hold {', '.join(refused)}", scopes=refused
        )
    return tuple(dict.fromkeys(scopes))


def _require_room(kind: Literal["tenant", "edge"], live_count: int) -> None:
    bound = MAX_LIVE_KEYS[kind]
    if live_count >= bound:
        raise TooManyKeys(f"there are {live_count} live keys of at most {bound}: revoke one first", bound=bound)


def _operator_key(given: OperatorKey, held: Key | None, now: datetime) -> Key:
    if held is not None and (held.digest, held.scopes) == (given.digest, OPERATOR_SCOPES):
        return held
    return Key(
        key_id=given.key_id,
        name=OPERATOR_KEY_NAME,
        digest=given.digest,
        kind="operator",
        tenant_id=None,
        scopes=OPERATOR_SCOPES,
        act_for=(),
        created_at=now if held is None else held.created_at,
        expires_at=None,
        revoked_at=None,
        changed_at=now if held is None else _after(held, now),
    )


def _after(key: Key, now: datetime) -> datetime:
    # Two processes' clocks differ: a later change never carries an earlier time than the one it follows.
    return max(now, key.changed_at + _TICK)
