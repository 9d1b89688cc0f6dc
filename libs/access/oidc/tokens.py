"""Bearer tokens of identity providers: JSON Web Tokens in compact form (RFC 7519, 7515), checked as RFC 8725 asks.

Of a token's header only `alg` and `kid` are used. `jku`, `x5u`, `jwk` and `x5c`, by which a token could bring its own
key, are never followed; `crit` is refused, since we understand no extension. So is a token whose header or claims say a
name twice (RFC 7515 and 7519, section 4 of each): whoever checked it before us may have read the other.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from jwt import PyJWS, PyJWTError

from libs.access.bearer import HOW, MAX_CREDENTIAL_CHARS
from libs.access.oidc.claims import TokenRefused, grant_of
from libs.access.oidc.issuers import Issuer
from libs.access.oidc.keyring import KeyRing
from libs.access.oidc.keyset import MAX_KID_CHARS
from libs.access.principal import Principal
from libs.runtime.actors import Pseudonyms
from libs.runtime.errors import Unauthenticated
from libs.runtime.strict_json import strict_json

MAX_HEADER_CHARS: Final = 4_096  # an `x5c` chain that we do not read must still fit
MAX_DEPTH: Final = 6  # of header and claims: real ones have two or three levels

_TYPES: Final = frozenset(("jwt", "at+jwt", "application/at+jwt"))
_JWS: Final = PyJWS(algorithms=["ES256", "RS256", "EdDSA"])

_log = logging.getLogger(__name__)


class Tenants(Protocol):
    """What is known of tenants: a directory."""

    def knows(self, tenant_id: str) -> bool:
        """Tell whether there is a tenant of that id."""
        ...

    def is_active(self, tenant_id: str) -> bool:
        """Tell whether there is a tenant of that id whose own keys are taken."""
        ...


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer and its keys."""

    issuer: Issuer
    keys: KeyRing


class Tokens:
    """Turns tokens of the trusted issuers into principals."""

    def __init__(self, trusted: Mapping[str, TrustedIssuer], tenants: Tenants, pseudonyms: Pseudonyms) -> None:
        """Take tokens of `trusted` (by `iss`) only; call their holders by their `pseudonyms`."""
        self._trusted = trusted
        self._tenants = tenants
        self._pseudonyms = pseudonyms

    async def aclose(self) -> None:
        """End the fetches that are under way."""
        for one in self._trusted.values():
            await one.keys.aclose()

    async def verify(self, token: str, now: datetime) -> Principal:
        """Return the principal of the token at `now`.

        Raises:
            Unauthenticated: the token is not good here and now; the same whatever was wrong, the log says what.
            IssuerSilent: the issuer's keys are not known.

        """
        try:
            return await self._verified(token, now)
        except TokenRefused as error:
            _log.info("a token is refused: %s", error)
            raise Unauthenticated(HOW) from None

    async def _verified(self, token: str, now: datetime) -> Principal:
        header, claims = _parts(token)
        trusted = self._trusted.get(iss) if isinstance(iss := claims.get("iss"), str) else None
        if trusted is None:
            raise TokenRefused("iss: no issuer of ours")
        algorithm, kid = _algorithm_and_kid(header)
        if algorithm not in trusted.issuer.algorithms:
            raise TokenRefused("alg: not allowed for the issuer")
        key = await trusted.keys.find(kid)
        if key is None or key.algorithm != algorithm:
            raise TokenRefused("kid: no key of the issuer for this algorithm")
        try:
            _JWS.decode_complete(token, key.key, algorithms=[key.algorithm])
        except PyJWTError as error:
            raise TokenRefused(f"signature: {type(error).__name__}") from error
        return self._principal(claims, trusted.issuer, now)

    def _principal(self, claims: Mapping[str, object], issuer: Issuer, now: datetime) -> Principal:
        grant = grant_of(claims, issuer, now)
        if grant.tenant_id is not None and not self._tenants.is_active(grant.tenant_id):
            raise TokenRefused("the tenant is unknown or suspended")
        return Principal(
            kind=grant.kind,
            key_id=self._pseudonyms.of(issuer.issuer, grant.subject),
            scopes=grant.scopes,
            tenant_id=grant.tenant_id,
            act_for=frozenset(),
            is_known=self._tenants.knows,
        )


def _parts(token: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The header and the claims, neither of them proven yet."""
    header, claims, _ = token.split(".")
    if len(header) > MAX_HEADER_CHARS or len(token) > MAX_CREDENTIAL_CHARS:
        raise TokenRefused("too long")
    return _object(header), _object(claims)


def _object(segment: str) -> Mapping[str, object]:
    try:
        found = strict_json(base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise TokenRefused("not base64url of JSON that says each name once") from error
    if not isinstance(found, dict) or not _is_shallow(found, MAX_DEPTH):
        raise TokenRefused("no object, or one that is nested too deeply")
    return found


def _is_shallow(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner)


def _algorithm_and_kid(header: Mapping[str, object]) -> tuple[str, str]:
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if "crit" in header or "b64" in header:
        raise TokenRefused("crit: no extension is understood")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenRefused("typ: another kind of token")
    if not isinstance(algorithm, str) or not isinstance(kid, str) or len(kid) > MAX_KID_CHARS:
        raise TokenRefused("alg or kid: missing")
    return algorithm, kid
