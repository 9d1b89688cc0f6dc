"""An identity provider of the test: its keys, its key set, and tokens that it signs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from libs.access.door import Door
from libs.access.oidc.issuers import Issuer
from libs.access.oidc.keyring import KeyRing
from libs.access.oidc.tokens import Tokens, TrustedIssuer
from libs.runtime.actors import Pseudonyms
from libs.runtime.clock import ManualClock
from libs.runtime.errors import Unavailable
from libs.schemas.events import KeyChanged, TenantChanged
from tests.support.access import NOW, directory_of, tenant_id

ISSUER, AUDIENCE, JWKS_URL = "https://id.example.test/", "maestro", "https://id.example.test/jwks"
ACTOR_KEY = "k" * 32
A = tenant_id(1)


@dataclass(frozen=True, slots=True)
class SigningPair:
    """A private key, how it is named, and its public half as a JSON Web Key."""

    kid: str
    algorithm: str
    private: Any = field(repr=False)
    jwk: dict[str, Any] = field(repr=False)


@cache
def pair(algorithm: str, kid: str, bits: int = 2_048) -> SigningPair:
    """Return the one key of that name in this run; `bits` of an RSA key."""
    if algorithm == "ES256":
        private: Any = ec.generate_private_key(ec.SECP256R1())
        public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
        public = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        private = rsa.generate_private_key(public_exponent=65_537, key_size=bits)
        public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        public.pop("key_ops", None)
    return SigningPair(kid, algorithm, private, {**public, "kid": kid, "use": "sig", "alg": algorithm})


def jwks(*keys: SigningPair | dict[str, Any]) -> bytes:
    """Return the key set of these keys."""
    return orjson.dumps({"keys": [key.jwk if isinstance(key, SigningPair) else key for key in keys]})


def claims(**changes: Any) -> dict[str, Any]:
    """Return good claims of tenant A's person; a change to None leaves the claim out."""
    now_s = int(NOW.timestamp())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "anna@example.test",
        "exp": now_s + 300,
        "iat": now_s,
        "tenant": A,
        "scope": "usage:read invoices:read",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(key: SigningPair, body: dict[str, Any] | None = None, **header: Any) -> str:
    """Return a token that `key` signed; `header` adds to its header."""
    content = orjson.dumps(claims() if body is None else body)
    return PyJWS().encode(content, key.private, key.algorithm, headers={"kid": key.kid} | header)


def issuer(**changes: Any) -> Issuer:
    """Return the trusted issuer; its tokens name their tenant."""
    fields: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ("ES256", "RS256", "EdDSA"),
        "jwks_url": JWKS_URL,
        "tenant_claim": "tenant",
    }
    return Issuer(**(fields | changes))


class Provider:
    """What serves the key set: counts the fetches, and can be down, slow, or say something else."""

    def __init__(self, *keys: SigningPair) -> None:
        self.content = jwks(*keys)
        self.is_down = False
        self.fetch_count = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def fetch(self) -> bytes:
        """Return the key set, once `answers` is set."""
        self.fetch_count += 1
        await self.answers.wait()
        if self.is_down:
            raise Unavailable("the provider is down")
        return self.content


def tokens_of(
    provider: Provider,
    trusted: Issuer | None = None,
    *,
    clock: ManualClock | None = None,
    said: Sequence[TenantChanged | KeyChanged] = (),
) -> Tokens:
    """Return what takes the provider's tokens, for the tenants that `said` names."""
    one = trusted or issuer()
    ring = KeyRing(one.issuer, provider.fetch, clock or ManualClock(NOW))
    return Tokens({one.issuer: TrustedIssuer(one, ring)}, directory_of(*said), Pseudonyms(ACTOR_KEY))


def token_door(provider: Provider, *said: TenantChanged | KeyChanged, clock: ManualClock | None = None) -> Door:
    """Return a door that takes keys and the provider's tokens."""
    clock = clock or ManualClock(NOW)
    return Door(directory_of(*said), clock, tokens=tokens_of(provider, clock=clock, said=said))
