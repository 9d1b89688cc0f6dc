"""The directory lets in whom it should, nobody else, and never says why."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.access.directory import Directory
from libs.access.errors import KeyUnusable, WrongTenant
from libs.runtime.errors import Broken, Unauthenticated, Unavailable
from libs.runtime.problem import problem_of
from tests.support.access import ENV, NOW, api_key, bearer, directory_of, key_changed, tenant_changed, tenant_id

A, B = tenant_id(1), tenant_id(2)
KEY_A, KEY_B, KEY_EDGE, KEY_OPERATOR = api_key(1), api_key(2), api_key(3), api_key(4)


def full_directory() -> Directory:
    return directory_of(
        tenant_changed(A),
        tenant_changed(B),
        key_changed(KEY_A, "tenant", tenant_id=A),
        key_changed(KEY_B, "tenant", tenant_id=B, scopes=("usage:read",)),
        key_changed(KEY_EDGE, "edge", act_for=(A,)),
        key_changed(KEY_OPERATOR, "operator", scopes=("tenants:write",)),
    )


@pytest.mark.parametrize(
    ("key", "kind", "tenant"),
    [(KEY_A, "tenant", A), (KEY_B, "tenant", B), (KEY_EDGE, "edge", None), (KEY_OPERATOR, "operator", None)],
)
def test_a_live_key_is_its_holder(key: Any, kind: str, tenant: Any) -> None:
    caller = full_directory().authenticate(bearer(key), NOW)

    assert (caller.kind, caller.tenant_id, caller.key_id) == (kind, tenant, key.key_id)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_has_no_case(scheme: str) -> None:
    assert full_directory().authenticate(f"{scheme} {KEY_A.text}", NOW).tenant_id == A


def test_a_key_holds_its_own_scopes() -> None:
    assert full_directory().authenticate(bearer(KEY_B), NOW).scopes == {"usage:read"}


def test_an_edge_key_acts_for_its_list_only() -> None:
    caller = full_directory().authenticate(bearer(KEY_EDGE), NOW)

    assert caller.tenant(A) == A
    with pytest.raises(WrongTenant):
        caller.tenant(B)


@given(
    owners=st.lists(st.integers(0, 20), min_size=2, max_size=12), picked=st.integers(0, 11), named=st.integers(0, 20)
)
def test_a_key_of_one_tenant_never_acts_for_another(owners: list[int], picked: int, named: int) -> None:
    keys = [api_key(seed) for seed in range(len(owners))]
    tenants = [tenant_changed(tenant_id(number)) for number in {*owners, named}]
    directory = directory_of(
        *tenants,
        *(key_changed(key, "tenant", tenant_id=tenant_id(owner)) for key, owner in zip(keys, owners, strict=True)),
    )
    owner = owners[picked % len(owners)]

    caller = directory.authenticate(bearer(keys[picked % len(owners)]), NOW)

    assert caller.tenant_id == tenant_id(owner)
    assert caller.visible == frozenset({tenant_id(owner)})
    assert (named == owner) == _acts_for(caller, named)


OTHER_SECRET = KEY_A.text[:-43] + KEY_B.text[-43:]


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="no header"),
        pytest.param("", id="empty header"),
        pytest.param("Bearer", id="no key"),
        pytest.param("Bearer ", id="empty key"),
        pytest.param(f"Basic {KEY_A.text}", id="another scheme"),
        pytest.param(KEY_A.text, id="no scheme"),
        pytest.param(f"Bearer {KEY_A.text} {KEY_A.text}", id="two keys"),
        pytest.param(bearer(api_key(99)), id="unknown key"),
        pytest.param(f"Bearer {OTHER_SECRET}", id="known id with another's secret"),
        pytest.param(f"Bearer {KEY_A.text[:-1]}", id="truncated secret"),
        pytest.param(f"Bearer {KEY_A.text.replace(KEY_A.key_id, KEY_B.key_id)}", id="another's id"),
        pytest.param(f"Bearer {KEY_A.text.replace('mst_local_', 'mst_live_')}", id="another environment"),
        pytest.param(f"Bearer {KEY_A.text}\x00", id="NUL"),
        pytest.param("Bearer \udcff\udcfe", id="surrogates"),
        pytest.param("Bearer " + "ÿ" * 80, id="latin-1 garbage"),
        pytest.param(f"Bearer {' ' * 100_000}{KEY_A.text}", id="over-long header"),
        pytest.param(f"Bearer {KEY_A.digest.hex()}", id="the stored digest"),
    ],
)
def test_what_is_not_a_known_key_is_refused_in_one_and_the_same_way(authorization: str | None) -> None:
    assert _refusal(full_directory(), authorization) == _refusal(full_directory(), "Bearer nonsense")


@given(authorization=st.text(max_size=300))
def test_no_header_makes_the_directory_fail_otherwise(authorization: str) -> None:
    assert _refusal(full_directory(), authorization)["status"] == 401


def test_a_key_that_was_made_for_another_environment_is_refused_even_with_a_known_digest() -> None:
    foreign = api_key(5, env="live")
    directory = directory_of(key_changed(foreign, "operator"))

    assert _refusal(directory, bearer(foreign))["status"] == 401


def test_a_key_works_up_to_the_instant_it_expires_and_not_at_it() -> None:
    directory = directory_of(key_changed(KEY_OPERATOR, "operator", expires_at=NOW))

    assert directory.authenticate(bearer(KEY_OPERATOR), NOW - timedelta(microseconds=1)).kind == "operator"
    assert _refusal(directory, bearer(KEY_OPERATOR)) == _refusal(directory, bearer(api_key(99)))


def test_a_revoked_key_is_refused_as_if_it_had_never_been() -> None:
    directory = full_directory()

    directory.on_key_changed(key_changed(KEY_A, "tenant", tenant_id=A, revoked_at=NOW))

    assert _refusal(directory, bearer(KEY_A)) == _refusal(directory, bearer(api_key(99)))


def test_a_straggling_record_does_not_bring_a_revoked_key_back() -> None:
    directory = full_directory()
    directory.on_key_changed(key_changed(KEY_A, "tenant", tenant_id=A, revoked_at=NOW))

    directory.on_key_changed(key_changed(KEY_A, "tenant", tenant_id=A))

    assert _refusal(directory, bearer(KEY_A))["status"] == 401


def test_what_is_remembered_of_revoked_keys_is_bounded() -> None:
    directory = Directory(ENV, revoked_kept=2)

    directory.on_key_changed(key_changed(KEY_A, "operator", revoked_at=NOW))
    directory.on_key_changed(key_changed(KEY_B, "operator", revoked_at=NOW))
    directory.on_key_changed(key_changed(KEY_EDGE, "operator", revoked_at=NOW))

    assert list(directory._revoked) == [KEY_B.key_id, KEY_EDGE.key_id]


def test_a_suspended_tenants_key_is_refused_until_it_is_active_again() -> None:
    directory = full_directory()
    directory.on_tenant_changed(tenant_changed(A, status="suspended"))
    assert _refusal(directory, bearer(KEY_A))["status"] == 401

    directory.on_tenant_changed(tenant_changed(A))

    assert directory.authenticate(bearer(KEY_A), NOW).tenant_id == A


def test_a_key_whose_tenant_was_never_heard_of_is_refused() -> None:
    assert _refusal(directory_of(key_changed(KEY_A, "tenant", tenant_id=A)), bearer(KEY_A))["status"] == 401


def test_a_forgotten_key_is_refused_until_it_is_said_again() -> None:
    directory = full_directory()
    directory.forget_key(KEY_A.key_id)
    assert _refusal(directory, bearer(KEY_A))["status"] == 401

    directory.on_key_changed(key_changed(KEY_A, "tenant", tenant_id=A))

    assert directory.authenticate(bearer(KEY_A), NOW).tenant_id == A


def test_a_key_whose_tenant_is_gone_is_refused() -> None:
    directory = full_directory()

    directory.forget_tenant(A)

    assert _refusal(directory, bearer(KEY_A))["status"] == 401


def test_a_changed_key_acts_as_it_last_was_said_to() -> None:
    directory = full_directory()

    directory.on_key_changed(key_changed(KEY_EDGE, "edge", act_for=(B,)))

    assert directory.authenticate(bearer(KEY_EDGE), NOW).visible == frozenset({B})


def test_nobody_is_let_in_before_the_directory_is_caught_up() -> None:
    directory = Directory(ENV)
    directory.on_key_changed(key_changed(KEY_OPERATOR, "operator"))

    with pytest.raises(Unavailable):
        directory.authenticate(bearer(KEY_OPERATOR), NOW)


def test_nobody_is_let_in_once_changes_no_longer_arrive() -> None:
    directory = full_directory()

    directory.distrust()

    with pytest.raises(Unavailable):
        directory.authenticate(bearer(KEY_OPERATOR), NOW)


@pytest.mark.parametrize("authorization", [bearer(KEY_A), bearer(api_key(99)), f"Bearer {OTHER_SECRET}", "junk", None])
def test_every_attempt_makes_exactly_one_comparison_in_constant_time(
    authorization: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    _outcome(full_directory(), authorization)

    assert compared == [(32, 32)]


def test_a_full_directory_stops_with_a_named_bound_and_still_takes_changes() -> None:
    directory = Directory(ENV, max_keys=1, max_tenants=1)
    directory.on_tenant_changed(tenant_changed(A))
    directory.on_key_changed(key_changed(KEY_A, "tenant", tenant_id=A))

    directory.on_tenant_changed(tenant_changed(A, name="Renamed"))
    directory.on_key_changed(key_changed(KEY_A, "tenant", tenant_id=A, scopes=()))

    with pytest.raises(Broken, match="MAX_TENANTS"):
        directory.on_tenant_changed(tenant_changed(B))
    with pytest.raises(Broken, match="MAX_KEYS"):
        directory.on_key_changed(key_changed(KEY_B, "tenant", tenant_id=B))


def test_a_tenant_is_looked_up_as_it_last_was_said_to_be() -> None:
    directory = full_directory()

    directory.on_tenant_changed(tenant_changed(A, name="Renamed", billing_zone="Asia/Tokyo"))

    assert directory.tenant(A) == tenant_changed(A, name="Renamed", billing_zone="Asia/Tokyo")
    assert directory.tenant(tenant_id(50)) is None


def test_a_topic_that_is_bound_to_an_edges_key_is_read_in_that_edges_name() -> None:
    caller = full_directory().edge(KEY_EDGE.key_id, NOW)

    assert (caller.kind, caller.key_id) == ("edge", KEY_EDGE.key_id)
    assert caller.tenant(A) == A


@pytest.mark.parametrize("key", [KEY_A, KEY_OPERATOR, api_key(99)])
def test_a_topic_is_bound_to_no_key_but_an_edges(key: Any) -> None:
    with pytest.raises(KeyUnusable, match=key.key_id):
        full_directory().edge(key.key_id, NOW)


@pytest.mark.parametrize("change", [{"revoked_at": NOW}, {"expires_at": NOW}, {"scopes": ("quota:check",)}])
def test_a_topic_waits_while_its_key_may_not_be_used(change: dict[str, Any]) -> None:
    directory = full_directory()

    directory.on_key_changed(key_changed(KEY_EDGE, "edge", **({"act_for": (A,)} | change)))

    with pytest.raises(KeyUnusable):
        directory.edge(KEY_EDGE.key_id, NOW)


def test_a_topic_waits_until_the_directory_is_caught_up() -> None:
    with pytest.raises(Unavailable, match="still being read"):
        Directory(ENV).edge(KEY_EDGE.key_id, NOW)


def _refusal(directory: Directory, authorization: str | None) -> dict[str, object]:
    with pytest.raises(Unauthenticated) as caught:
        directory.authenticate(authorization, NOW)
    return problem_of(caught.value)


def _outcome(directory: Directory, authorization: str | None) -> object:
    try:
        return directory.authenticate(authorization, NOW)
    except Unauthenticated as refusal:
        return refusal


def _acts_for(caller: Any, number: int) -> bool:
    try:
        return bool(caller.tenant(tenant_id(number)))
    except WrongTenant:
        return False
