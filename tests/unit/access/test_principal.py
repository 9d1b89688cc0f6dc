"""Which tenant a key may act for, and whose things it may read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.access.errors import TenantRequired, WrongTenant
from libs.access.principal import Principal
from libs.access.scopes import ALL_SCOPES, DEFAULT_SCOPES, GRANTABLE_SCOPES
from libs.runtime.errors import Forbidden, NotFound
from libs.runtime.problem import problem_of
from libs.schemas.values import TenantId
from tests.support.access import tenant_id

TENANTS = st.integers(0, 200).map(tenant_id)
A, B, C = tenant_id(1), tenant_id(2), tenant_id(3)


def principal(known: Iterable[TenantId] = (), **fields: Any) -> Principal:
    defaults: dict[str, Any] = {
        "key_id": "a" * 16,
        "scopes": frozenset(),
        "tenant_id": None,
        "act_for": frozenset(),
        "is_known": frozenset(known).__contains__,
    }
    return Principal(**(defaults | fields))


@given(own=TENANTS, named=TENANTS)
def test_a_tenant_acts_for_itself_and_for_nobody_else(own: TenantId, named: TenantId) -> None:
    caller = principal(kind="tenant", tenant_id=own, known=(own, named))

    assert caller.tenant(None) == own
    assert caller.tenant(own) == own
    assert (named == own) == _may_act(caller, named)


@given(listed=st.frozensets(TENANTS, max_size=5), named=TENANTS)
def test_an_edge_acts_for_those_listed_and_for_nobody_else(listed: frozenset[TenantId], named: TenantId) -> None:
    caller = principal(kind="edge", act_for=listed, known=(*listed, named))

    assert (named in listed) == _may_act(caller, named)


@pytest.mark.parametrize("kind", ["edge", "operator"])
def test_a_key_without_a_tenant_of_its_own_must_name_one(kind: str) -> None:
    with pytest.raises(TenantRequired):
        principal(kind=kind, act_for=frozenset({A}), known=(A,)).tenant(None)


@pytest.mark.parametrize("scope", ["usage:write", "quota:check"])
def test_an_operator_speaks_for_no_tenant_even_with_a_key_that_holds_the_scope(scope: Any) -> None:
    assert scope not in GRANTABLE_SCOPES["operator"]
    with pytest.raises(Forbidden, match=scope):
        principal(kind="operator", scopes=frozenset(ALL_SCOPES)).require(scope)


def test_an_operator_reaches_any_known_tenant() -> None:
    assert principal(kind="operator", known=(A, B)).tenant(B) == B


@pytest.mark.parametrize("named", [C, "", "tnt_?", "x" * 10_000])
def test_an_operator_naming_no_tenant_of_ours_finds_nothing(named: str) -> None:
    with pytest.raises(NotFound):
        principal(kind="operator", known=(A,)).tenant(named)


def test_a_wrong_tenant_is_a_403_that_says_wrong_tenant() -> None:
    with pytest.raises(WrongTenant) as caught:
        principal(kind="tenant", tenant_id=A).tenant(B)

    assert problem_of(caught.value)["status"] == 403
    assert problem_of(caught.value)["error"] == "wrong_tenant"


def test_a_wrong_tenant_looks_the_same_whether_or_not_it_exists() -> None:
    caller = principal(kind="tenant", tenant_id=A, known=(A, B))

    assert _refusal(caller, B) == _refusal(caller, C)


@pytest.mark.parametrize(
    ("caller", "seen"),
    [
        pytest.param(principal(kind="tenant", tenant_id=A), frozenset({A}), id="a tenant: itself"),
        pytest.param(principal(kind="edge", act_for=frozenset({A, B})), frozenset({A, B}), id="an edge: its list"),
        pytest.param(principal(kind="operator"), None, id="an operator: all"),
    ],
)
def test_whose_things_a_key_sees(caller: Principal, seen: frozenset[TenantId] | None) -> None:
    assert caller.visible == seen


@pytest.mark.parametrize("caller", [principal(kind="tenant", tenant_id=A), principal(kind="edge", act_for={A})])
def test_reading_another_tenants_thing_finds_nothing(caller: Principal) -> None:
    assert caller.reading(A) == A
    with pytest.raises(NotFound):
        caller.reading(B)


def test_an_operator_reads_what_there_is() -> None:
    assert principal(kind="operator").reading(B) == B


@pytest.mark.parametrize("scope", ALL_SCOPES)
def test_a_key_without_a_scope_is_told_which_one_it_needs(scope: Any) -> None:
    with pytest.raises(Forbidden, match=scope):
        principal(kind="operator", scopes=frozenset(ALL_SCOPES) - {scope}).require(scope)


@pytest.mark.parametrize("scope", ALL_SCOPES)
def test_a_key_with_the_scope_passes(scope: Any) -> None:
    principal(kind="tenant", scopes=frozenset({scope})).require(scope)


@pytest.mark.parametrize("kind", ["operator", "tenant", "edge"])
def test_what_a_kind_holds_by_default_can_be_granted_to_it(kind: Any) -> None:
    assert set(DEFAULT_SCOPES[kind]) <= GRANTABLE_SCOPES[kind]


@pytest.mark.parametrize("scope", ["tenants:write", "quota:write", "invoices:close"])
def test_only_operators_can_hold_what_changes_tenants_prices_or_closes(scope: Any) -> None:
    assert scope in GRANTABLE_SCOPES["operator"]
    assert scope not in GRANTABLE_SCOPES["tenant"] | GRANTABLE_SCOPES["edge"]


def _may_act(caller: Principal, named: TenantId) -> bool:
    try:
        return caller.tenant(named) == named
    except WrongTenant:
        return False


def _refusal(caller: Principal, named: TenantId) -> dict[str, object]:
    with pytest.raises(WrongTenant) as caught:
        caller.tenant(named)
    return problem_of(caught.value)
