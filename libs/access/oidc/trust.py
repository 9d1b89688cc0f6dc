"""The issuers that a process trusts, as its settings say, and where their keys come from."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

from libs.access.oidc.issuers import Issuer, read_issuers
from libs.access.oidc.keyring import Fetch, KeyRing
from libs.access.oidc.keyset import KeySetUnusable
from libs.access.oidc.tokens import Tenants, Tokens, TrustedIssuer
from libs.runtime.actors import Pseudonyms
from libs.runtime.clock import Clock
from libs.runtime.errors import Broken
from libs.runtime.outbound import Outbound, outbound_of
from libs.runtime.settings import ServiceSettings, secret_from

MAX_KEY_SET_BYTES: Final = 262_144  # a hundred RSA keys with their certificates
_OK: Final = 200


def tokens_of(settings: ServiceSettings, tenants: Tenants, clock: Clock) -> Tokens | None:
    """Return the tokens that the file of issuers lets in, None without one; raise Broken where it cannot be used."""
    issuers = read_issuers(settings.issuers_file)
    if not issuers:
        return None
    actor_key = secret_from(settings.actor_key_file)
    if actor_key is None:
        raise Broken("issuers are trusted, but MAESTRO_ACTOR_KEY_FILE names no key for the pseudonyms of their people")
    outbound = outbound_of(settings)
    trusted = {
        name: TrustedIssuer(issuer, KeyRing(name, source_of(issuer, outbound), clock))
        for name, issuer in issuers.items()
    }
    return Tokens(trusted, tenants, Pseudonyms(actor_key))


def source_of(issuer: Issuer, outbound: Outbound) -> Fetch:
    """Return what fetches the issuer's key set: from its URL, or from the file where nothing can be fetched."""
    if issuer.jwks_file is not None:
        return partial(asyncio.to_thread, _content, issuer.jwks_file)
    assert issuer.jwks_url is not None  # the file was checked
    return partial(_fetched, outbound, issuer.jwks_url)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_SET_BYTES)
    except OSError as error:
        raise KeySetUnusable(f"cannot read the key set {path}: {error.strerror}") from error


async def _fetched(outbound: Outbound, url: str) -> bytes:
    answer = await outbound.get(url)
    if answer.status != _OK:
        raise KeySetUnusable(f"the issuer answers {answer.status} where its keys should be")
    return answer.body
