"""Tokens: whose are taken, and every way in which one may not be."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import serialization

from libs.access.oidc.keyring import IssuerSilent
from libs.runtime.errors import Unauthenticated
from tests.support.access import NOW, tenant_changed, tenant_id
from tests.support.tokens import A, Provider, SigningPair, claims, issuer, pair, signed, tokens_of

B = tenant_id(2)
TENANTS = (tenant_changed(A), tenant_changed(B, status="suspended"))
EC, RSA, ED = pair("ES256", "ec"), pair("RS256", "rsa"), pair("EdDSA", "ed")
NOW_S = int(NOW.timestamp())


async def refused(token: str, *, provider: Provider | None = None, **trusted: Any) -> bool:
    tokens = tokens_of(provider or Provider(EC, RSA, ED), issuer(**trusted), said=TENANTS)
    with pytest.raises(Unauthenticated) as error:
        await tokens.verify(token, NOW)
    return error.value.detail.startswith("send `Authorization")


def segment(value: object) -> str:
    content = value if isinstance(value, bytes) else orjson.dumps(value)
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.mark.parametrize("key", [EC, RSA, ED], ids=lambda key: key.algorithm)
async def test_a_good_token_is_its_holder_under_a_pseudonym(key: SigningPair) -> None:
    caller = await tokens_of(Provider(EC, RSA, ED), said=TENANTS).verify(signed(key), NOW)
    assert (caller.kind, caller.tenant_id, caller.visible) == ("tenant", A, frozenset({A}))
    assert caller.scopes == {"usage:read", "invoices:read"}
    assert caller.key_id.startswith("jwt_")
    assert len(caller.key_id) == 28
    assert "anna" not in repr(caller)


@pytest.mark.parametrize("key", [EC, RSA, ED], ids=lambda key: key.algorithm)
async def test_a_changed_claim_breaks_the_signature(key: SigningPair) -> None:
    header, _, signature = signed(key).split(".")
    assert await refused(f"{header}.{segment(claims(sub='eve'))}.{signature}")


async def test_a_public_rsa_key_is_no_hmac_secret() -> None:
    secret = RSA.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signing_input = f"{segment({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{segment(claims())}"
    forged = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    assert await refused(f"{signing_input}.{segment(forged)}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "ES384", "", None, 5, ["ES256"]])
async def test_an_algorithm_outside_the_list_is_refused_whatever_is_signed(algorithm: object) -> None:
    _, body, signature = signed(EC).split(".")
    assert await refused(f"{segment({'alg': algorithm, 'kid': 'ec'})}.{body}.{signature}")
    assert await refused(f"{segment({'alg': algorithm, 'kid': 'ec'})}.{body}.")


async def test_an_algorithm_that_is_not_this_issuers_is_refused() -> None:
    assert await refused(signed(RSA), algorithms=("ES256",))


async def test_a_key_is_used_with_its_own_algorithm_only() -> None:
    assert await refused(signed(EC, kid="rsa"))
    assert await refused(signed(RSA, kid="ec"))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example.test/"},
        {"iss": "https://id.example.test"},
        {"iss": None},
        {"iss": ["https://id.example.test/"]},
        {"aud": "other"},
        {"aud": None},
        {"aud": ["other", "another"]},
        {"aud": "maestro2"},
        {"exp": None},
        {"exp": NOW_S - 31},
        {"exp": str(NOW_S + 300)},
        {"exp": True},
        {"exp": 1e300},
        {"nbf": NOW_S + 31},
        {"iat": NOW_S + 31},
        {"iat": "now"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "s" * 256},
        {"tenant": None},
        {"tenant": 5},
        {"tenant": tenant_id(9)},
        {"tenant": B},
        {"scope": {"usage:read": True}},
    ],
    ids=str,
)
async def test_claims_that_are_not_whole_not_for_us_or_not_now_are_refused(changed: dict[str, Any]) -> None:
    assert await refused(signed(EC, claims(**changed)))


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": NOW_S - 29},
        {"nbf": NOW_S + 29, "iat": NOW_S + 29},
        {"iat": None},
        {"aud": ["other", "maestro"]},
        {"exp": NOW_S + 0.5},
    ],
    ids=str,
)
async def test_what_lies_within_the_leeway_or_is_optional_is_taken(changed: dict[str, Any]) -> None:
    caller = await tokens_of(Provider(EC), said=TENANTS).verify(signed(EC, claims(**changed)), NOW)
    assert caller.tenant_id == A


async def test_a_token_that_names_keys_of_its_own_is_checked_by_ours_alone() -> None:
    stranger, provider = pair("ES256", "stranger"), Provider(EC)
    brought = {"jku": "https://evil.example.test/jwks", "jwk": stranger.jwk, "x5u": "https://evil.example.test/x5u"}
    forged = signed(stranger, None, **brought, kid="ec")
    assert await refused(forged, provider=provider)
    assert await refused(signed(stranger, None, **brought), provider=provider)

    own = await tokens_of(provider, said=TENANTS).verify(signed(EC, None, **brought), NOW)
    assert own.tenant_id == A  # such headers are ignored, not followed: nothing but the issuer's set was ever fetched


HEADER = b'{"alg": "EdDSA", "kid": "ed"}'


def signed_as_written(header: bytes, body: bytes) -> str:
    signing_input = f"{segment(header)}.{segment(body)}"
    return f"{signing_input}.{segment(ED.private.sign(signing_input.encode()))}"


async def test_a_token_is_taken_as_its_bytes_say_it() -> None:
    caller = await tokens_of(Provider(ED), said=TENANTS).verify(signed_as_written(HEADER, orjson.dumps(claims())), NOW)
    assert caller.tenant_id == A


@pytest.mark.parametrize("again", [b'"sub": "eve"', b'"later": {"a": 1, "a": 2}', b'"later": NaN', b'"exp": 1e999'])
async def test_a_token_whose_claims_may_be_read_in_two_ways_is_refused(again: bytes) -> None:
    body = orjson.dumps(claims())
    assert await refused(signed_as_written(HEADER, body[:-1] + b", " + again + b"}"))
    assert await refused(signed_as_written(HEADER, b"{" + again + b", " + body[1:]))


@pytest.mark.parametrize("again", [b'"kid": "ec"', b'"alg": "none"', b'"jwk": {"x": 1, "x": 2}'])
async def test_a_token_whose_header_may_be_read_in_two_ways_is_refused(again: bytes) -> None:
    body = orjson.dumps(claims())
    assert await refused(signed_as_written(HEADER[:-1] + b", " + again + b"}", body))
    assert await refused(signed_as_written(b"{" + again + b", " + HEADER[1:], body))


@pytest.mark.parametrize("digits", [20, 400, 5_000])
async def test_a_time_beyond_all_clocks_is_refused(digits: int) -> None:
    body = orjson.dumps(claims(exp=None)).replace(b'"exp":null', b'"exp":' + b"9" * digits)
    assert await refused(signed_as_written(HEADER, body))


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"typ": "logout+jwt"}, {"typ": 5}],
    ids=str,
)
async def test_extensions_and_other_kinds_of_token_are_refused(header: dict[str, Any]) -> None:
    _, body, signature = signed(EC).split(".")
    assert await refused(f"{segment({'alg': 'ES256', 'kid': 'ec'} | header)}.{body}.{signature}")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 2_000 + b"]" * 2_000,
        b'{"alg":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"alg":"ES256","kid":"ec","x":{"a":{"b":{"c":{"d":{"e":{"f":1}}}}}}}',
        b"[]",
        b"\xff\xfe",
        b"",
        b'{"alg":"ES256","kid":"' + b"k" * 300 + b'"}',
        b'{"alg":"ES256","kid":"ec","x5c":"' + b"c" * 4_000 + b'"}',
    ],
    ids=["deep list", "deep member", "nested", "list", "no UTF-8", "empty", "long kid", "long header"],
)
async def test_a_header_that_is_too_deep_too_long_or_no_object_is_refused(header: bytes) -> None:
    _, body, signature = signed(EC).split(".")
    assert await refused(f"{segment(header)}.{body}.{signature}")


async def test_a_token_over_the_bound_is_refused_before_any_key_is_asked_for() -> None:
    provider = Provider(EC)
    assert await refused(signed(EC, claims(padding="p" * 8_000)), provider=provider)
    assert provider.fetch_count == 0


async def test_what_grants_nothing_here_is_left_out() -> None:
    body = claims(scope="usage:read tenants:write openid quota:check", tenant=A)
    caller = await tokens_of(Provider(EC), said=TENANTS).verify(signed(EC, body), NOW)
    assert caller.scopes == {"usage:read", "quota:check"}  # a tenant's token never holds tenants:write


async def test_a_tenants_token_may_correct_usage_only_where_the_operator_maps_a_word_to_it() -> None:
    body = signed(EC, claims(scope="usage:read usage:correct", tenant=A))
    plain = await tokens_of(Provider(EC), said=TENANTS).verify(body, NOW)
    mapped = issuer(scopes_of={"usage:correct": ("usage:correct",)})
    asked = await tokens_of(Provider(EC), mapped, said=TENANTS).verify(body, NOW)
    assert plain.scopes == {"usage:read"}
    assert asked.scopes == {"usage:correct"}


async def test_an_issuers_own_words_become_scopes_and_kinds() -> None:
    trusted = issuer(
        kind_claim="role",
        kinds={"staff": "operator", "customer": "tenant"},
        scopes_claim="groups",
        scopes_of={"billing": ("invoices:read", "invoices:close"), "writers": ("usage:write",)},
    )
    tokens = tokens_of(Provider(EC), trusted, said=TENANTS)
    staff = await tokens.verify(signed(EC, claims(role="staff", groups=["billing", "writers", "tennis"])), NOW)
    customer = await tokens.verify(signed(EC, claims(role="customer", groups=["billing", "writers"])), NOW)

    assert (staff.kind, staff.tenant_id) == ("operator", None)
    assert staff.scopes == {"invoices:read", "invoices:close"}
    assert (customer.kind, customer.tenant_id) == ("tenant", A)
    assert customer.scopes == {"invoices:read", "usage:write"}
    with pytest.raises(Unauthenticated):
        await tokens.verify(signed(EC, claims(role="root", groups=["billing"])), NOW)


async def test_a_customers_own_issuer_speaks_for_that_customer_only() -> None:
    trusted = issuer(tenant_claim=None, tenant_id=A)
    caller = await tokens_of(Provider(EC), trusted, said=TENANTS).verify(signed(EC, claims(tenant=B)), NOW)
    assert caller.tenant_id == A


async def test_an_issuer_of_some_tenants_speaks_for_no_other() -> None:
    assert await refused(signed(EC), tenants=frozenset((tenant_id(3),)))


async def test_one_person_keeps_one_pseudonym_and_two_never_share_it() -> None:
    tokens = tokens_of(Provider(EC), said=TENANTS)
    first = await tokens.verify(signed(EC), NOW)
    again = await tokens.verify(signed(EC, claims(exp=NOW_S + 900)), NOW + timedelta(seconds=200))
    other = await tokens.verify(signed(EC, claims(sub="bob@example.test")), NOW)
    assert first.key_id == again.key_id != other.key_id


async def test_while_an_issuers_keys_are_unknown_its_tokens_wait_rather_than_fail() -> None:
    provider = Provider(EC)
    provider.is_down = True
    with pytest.raises(IssuerSilent) as error:
        await tokens_of(provider, said=TENANTS).verify(signed(EC), NOW)
    assert error.value.headers["retry-after"] == "60"
