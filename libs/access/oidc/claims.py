"""What a proven token's claims say: whether it is meant for us now (RFC 7519, section 4.1), and what it grants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from libs.access.oidc.issuers import Issuer, TokenKind
from libs.access.scopes import GRANTABLE_SCOPES, MAPPED_SCOPES, Scope
from libs.schemas.values import TenantId

MAX_SUBJECT_CHARS: Final = 255  # OpenID Connect Core 1.0, section 2
MAX_WORDS: Final = 200  # of a scope claim: more is not looked at
_SCOPES: Final = frozenset(get_args(Scope))
_MAX_TIME_S: Final = 253_402_300_800  # the year 10000


class TokenRefused(Exception):
    """Why a token is not taken, for the log; its sender is told one and the same whatever it was."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Who a token's holder is at the issuer, and what they are here."""

    subject: str
    kind: TokenKind
    tenant_id: TenantId | None
    scopes: frozenset[str]


def grant_of(claims: Mapping[str, object], issuer: Issuer, now: datetime) -> Grant:
    """Return what the claims grant at `now`; raise TokenRefused where they are not for us, not now, or incomplete."""
    _require_addressed(claims, issuer)
    _require_timely(claims, issuer.leeway_s, now.timestamp())
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS:
        raise TokenRefused("sub: missing or too long")
    kind = _kind(claims, issuer)
    return Grant(subject, kind, _tenant(claims, issuer) if kind == "tenant" else None, _scopes(claims, issuer, kind))


def _require_addressed(claims: Mapping[str, object], issuer: Issuer) -> None:
    if claims.get("iss") != issuer.issuer:
        raise TokenRefused("iss: another issuer")
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise TokenRefused("aud: not for us")


def _require_timely(claims: Mapping[str, object], leeway_s: int, now_s: float) -> None:
    expires_s = _time(claims, "exp")
    if expires_s is None:
        raise TokenRefused("exp: missing")
    if now_s >= expires_s + leeway_s:
        raise TokenRefused("exp: expired")
    for name in ("nbf", "iat"):
        begins_s = _time(claims, name)
        if begins_s is not None and now_s < begins_s - leeway_s:
            raise TokenRefused(f"{name}: lies ahead")


def _time(claims: Mapping[str, object], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"{name}: no number")
    if not math.isfinite(value) or not 0 <= value < _MAX_TIME_S:
        raise TokenRefused(f"{name}: no time")
    return value


def _kind(claims: Mapping[str, object], issuer: Issuer) -> TokenKind:
    if issuer.kind_claim is None:
        return issuer.kind
    said = claims.get(issuer.kind_claim)
    kind = issuer.kinds.get(said) if isinstance(said, str) else None
    if kind is None:
        raise TokenRefused(f"{issuer.kind_claim}: names no kind")
    return kind


def _tenant(claims: Mapping[str, object], issuer: Issuer) -> TenantId:
    if issuer.tenant_claim is None:
        assert issuer.tenant_id is not None  # the file was checked
        return issuer.tenant_id
    said = claims.get(issuer.tenant_claim)
    if not isinstance(said, str) or (issuer.tenants is not None and said not in issuer.tenants):
        raise TokenRefused(f"{issuer.tenant_claim}: no tenant of this issuer")
    return TenantId(said)


def _scopes(claims: Mapping[str, object], issuer: Issuer, kind: TokenKind) -> frozenset[str]:
    said = claims.get(issuer.scopes_claim, ())
    words = said.split() if isinstance(said, str) else said
    if not isinstance(words, list | tuple):
        raise TokenRefused(f"{issuer.scopes_claim}: neither a text nor a list")
    named = [word for word in words[:MAX_WORDS] if isinstance(word, str)]
    if issuer.scopes_of is None:
        granted = frozenset(named) & (_SCOPES if kind == "operator" else _SCOPES - MAPPED_SCOPES)
    else:
        granted = frozenset(scope for word in named for scope in issuer.scopes_of.get(word, ()))
    return granted & GRANTABLE_SCOPES[kind]
