"""What identity decides: who may be registered, which keys may be made, and that a revocation is final."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.access.principal import Principal
from libs.access.scopes import ACTING_SCOPES, ALL_SCOPES, DEFAULT_SCOPES, GRANTABLE_SCOPES, OPERATOR_SCOPES, Scope
from libs.runtime.errors import Broken, Forbidden
from libs.schemas.values import TENANT_ID
from services.identity import domain
from services.identity.domain import (
    MAX_LIVE_KEYS,
    Key,
    KeyOrder,
    KnownPlans,
    OperatorKey,
    Standing,
    TenantOrder,
    adopt_operator_key,
    issue_key,
    key_fact,
    register,
    require_reading,
    revoke,
    tenant_fact,
)
from services.identity.errors import (
    ExpiryNotAhead,
    PlansNotHeard,
    ScopeNotGrantable,
    TooManyKeys,
    UnknownPlan,
    UnknownTenants,
)
from tests.support.access import NOW, api_key, seeded, tenant_id

A, B = tenant_id(1), tenant_id(2)
ORDER = TenantOrder(name="Acme", plan_id="starter", billing_zone="Europe/Berlin", region="local-1")
MOMENTS = st.integers(-10_000_000, 10_000_000).map(lambda seconds: NOW + timedelta(seconds=seconds))


def principal(kind: Any = "operator", **fields: Any) -> Principal:
    defaults: dict[str, Any] = {
        "key_id": "a" * 16,
        "scopes": frozenset(OPERATOR_SCOPES),
        "tenant_id": None,
        "act_for": frozenset(),
        "is_known": lambda _: True,
    }
    return Principal(kind=kind, **(defaults | fields))


def plans(*ids: str) -> KnownPlans:
    known = KnownPlans()
    for plan_id in ids:
        known.add(plan_id)
    return known


def tenant_key(**order: Any) -> Key:
    return issue_key(KeyOrder("tenant", "ci", A, **order), api_key(1), Standing(), principal(), NOW)


def operator_key(seed: int) -> OperatorKey:
    key = api_key(seed)
    return OperatorKey(key.key_id, key.digest.hex())


# Tenants


def test_a_tenant_is_registered_as_ordered_and_active() -> None:
    tenant = register(ORDER, A, plans("starter"), NOW)

    assert (tenant.tenant_id, tenant.name, tenant.status, tenant.plan_id) == (A, "Acme", "active", "starter")
    assert tenant.created_at == tenant.changed_at == NOW


def test_a_plan_that_quota_has_not_published_is_refused_by_name() -> None:
    with pytest.raises(UnknownPlan, match="starter"):
        register(ORDER, A, plans("pro"), NOW)


def test_while_no_plan_is_known_the_caller_is_asked_to_come_back() -> None:
    with pytest.raises(PlansNotHeard):
        register(ORDER, A, plans(), NOW)


def test_the_number_of_known_plans_has_a_bound() -> None:
    known = KnownPlans(bound=1)
    known.add("starter")
    known.add("starter")

    with pytest.raises(Broken, match="MAX_PLANS"):
        known.add("pro")


@given(seed=st.integers(min_value=0))
def test_every_new_tenant_id_has_the_form_of_one(seed: int) -> None:
    assert TENANT_ID.fullmatch(domain.new_tenant_id(seeded(seed)))


def test_what_everyone_is_told_of_a_tenant_is_what_was_decided() -> None:
    fact = tenant_fact(register(ORDER, A, plans("starter"), NOW))

    assert (fact.tenant_id, fact.billing_zone, fact.region, fact.plan_id, fact.status) == (
        A,
        "Europe/Berlin",
        "local-1",
        "starter",
        "active",
    )


# Keys


@pytest.mark.parametrize(
    ("order", "kind"),
    [(KeyOrder("tenant", "ci", A), "tenant"), (KeyOrder("edge", "gateway", act_for=(A,)), "edge")],
)
def test_a_key_without_a_wish_holds_what_its_kind_holds_by_default(order: KeyOrder, kind: Any) -> None:
    key = issue_key(order, api_key(1), Standing(known=frozenset({A})), principal(), NOW)

    assert key.scopes == DEFAULT_SCOPES[kind]
    assert (key.kind, key.tenant_id, key.act_for) == (kind, order.tenant_id, order.act_for)


SCOPES = st.lists(st.sampled_from(ALL_SCOPES), min_size=1, max_size=len(ALL_SCOPES)).map(tuple)


@given(asked=SCOPES, held=st.frozensets(st.sampled_from(ALL_SCOPES)))
def test_a_key_never_holds_more_than_its_kind_can_nor_than_its_maker_may_give(
    asked: tuple[Scope, ...], held: frozenset[Scope]
) -> None:
    allowed = GRANTABLE_SCOPES["tenant"] & (held | ACTING_SCOPES)

    assert (set(asked) <= allowed) == (_scopes_of(asked, held) == set(asked))


def test_a_refused_scope_is_named() -> None:
    with pytest.raises(ScopeNotGrantable, match="invoices:close") as caught:
        tenant_key(scopes=("usage:read", "invoices:close"))

    assert caught.value.members == {"scopes": ["invoices:close"]}


def test_a_scope_asked_for_twice_is_held_once() -> None:
    assert tenant_key(scopes=("usage:read", "usage:read")).scopes == ("usage:read",)


def test_a_tenant_listed_twice_is_listed_once() -> None:
    order = KeyOrder("edge", "gateway", act_for=(A, B, A))

    assert issue_key(order, api_key(1), Standing(frozenset({A, B})), principal(), NOW).act_for == (A, B)


def test_an_edge_acts_for_tenants_that_there_are() -> None:
    with pytest.raises(UnknownTenants) as caught:
        issue_key(KeyOrder("edge", "gateway", act_for=(A, B)), api_key(1), Standing(frozenset({A})), principal(), NOW)

    assert caught.value.members == {"unknown": [B]}


def test_only_an_operator_makes_a_key_for_a_gateway_whatever_else_is_wrong() -> None:
    granter = principal("tenant", tenant_id=A)

    with pytest.raises(Forbidden):
        issue_key(KeyOrder("edge", "gateway", act_for=(B,)), api_key(1), Standing(), granter, NOW)


@pytest.mark.parametrize("kind", ["tenant", "edge"])
def test_the_number_of_live_keys_has_a_bound(kind: Any) -> None:
    order = KeyOrder(kind, "ci", act_for=(A,))
    full = Standing(frozenset({A}), MAX_LIVE_KEYS[kind])

    assert issue_key(order, api_key(1), replace(full, live_count=full.live_count - 1), principal(), NOW)
    with pytest.raises(TooManyKeys):
        issue_key(order, api_key(1), full, principal(), NOW)


@pytest.mark.parametrize("expires_at", [NOW, NOW - timedelta(days=1)])
def test_a_key_that_would_be_expired_at_once_is_not_made(expires_at: datetime) -> None:
    with pytest.raises(ExpiryNotAhead):
        tenant_key(expires_at=expires_at)


def test_a_key_is_kept_as_its_digest_and_nothing_of_its_text() -> None:
    made = api_key(1)
    key = tenant_key()

    assert key.digest == made.digest.hex()
    assert made.text[-43:] not in repr(key)


def test_what_everyone_is_told_of_a_key_leaves_its_name_out() -> None:
    told = key_fact(tenant_key(expires_at=NOW + timedelta(days=1)))

    assert "name" not in told.model_dump()
    assert (told.tenant_id, told.expires_at, told.revoked_at) == (A, NOW + timedelta(days=1), None)


# Revocation


@given(first=MOMENTS, second=MOMENTS)
def test_the_first_revocation_stands_whatever_the_clocks_say(first: datetime, second: datetime) -> None:
    revoked = revoke(tenant_key(), first)

    assert revoke(revoked, second) == revoked


@given(now=MOMENTS)
def test_a_revocation_is_later_than_what_it_changes(now: datetime) -> None:
    key = tenant_key()

    assert revoke(key, now).changed_at > key.changed_at


# The operator's key


def test_the_first_operator_key_may_do_everything_but_speak_for_a_tenant() -> None:
    (key,) = adopt_operator_key(operator_key(1), [], NOW)

    assert (key.kind, key.scopes, key.revoked_at) == ("operator", OPERATOR_SCOPES, None)


def test_an_operator_key_that_is_held_already_changes_nothing() -> None:
    held = adopt_operator_key(operator_key(1), [], NOW)

    assert adopt_operator_key(operator_key(1), held, NOW + timedelta(days=1)) == []


def test_another_operator_key_takes_the_place_of_the_one_before() -> None:
    before = adopt_operator_key(operator_key(1), [], NOW)

    new, old = adopt_operator_key(operator_key(2), before, NOW + timedelta(days=1))

    assert (new.key_id, new.revoked_at) == (operator_key(2).key_id, None)
    assert (old.key_id, old.revoked_at) == (operator_key(1).key_id, NOW + timedelta(days=1))


def test_an_operator_key_that_was_revoked_does_not_come_back_and_takes_no_place() -> None:
    (first,) = adopt_operator_key(operator_key(1), [], NOW)
    second, first_revoked = adopt_operator_key(operator_key(2), [first], NOW)

    assert adopt_operator_key(operator_key(1), [first_revoked, second], NOW) == []


def test_an_operator_key_with_a_new_digest_keeps_its_age() -> None:
    (held,) = adopt_operator_key(operator_key(1), [], NOW)
    given_now = OperatorKey(held.key_id, "f" * 64)

    (changed,) = adopt_operator_key(given_now, [held], NOW + timedelta(days=1))

    assert (changed.digest, changed.created_at, changed.changed_at) == ("f" * 64, NOW, NOW + timedelta(days=1))


def test_an_operator_key_gains_the_scopes_that_are_new() -> None:
    (held,) = adopt_operator_key(operator_key(1), [], NOW)
    older = replace(held, scopes=held.scopes[:-1])

    assert [key.scopes for key in adopt_operator_key(operator_key(1), [older], NOW)] == [OPERATOR_SCOPES]


# Reading


def test_a_tenants_key_reads_its_own_entry_without_a_scope() -> None:
    require_reading(principal("tenant", tenant_id=A, scopes=frozenset()))


def test_an_operator_key_reads_tenants_with_the_scope_only() -> None:
    with pytest.raises(Forbidden, match="tenants:read"):
        require_reading(principal(scopes=frozenset()))


def _scopes_of(asked: tuple[Scope, ...], held: frozenset[Scope]) -> set[str] | None:
    granter = principal(scopes=held)
    try:
        return set(issue_key(KeyOrder("tenant", "ci", A, scopes=asked), api_key(1), Standing(), granter, NOW).scopes)
    except ScopeNotGrantable:
        return None
