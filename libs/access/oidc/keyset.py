"""JSON Web Key Sets (RFC 7517): the keys in one that can prove a token, and nothing else of it.

The algorithm is the key's, never the token's word: a token that names another is refused, so that a public RSA key can
not be used as an HMAC secret (RFC 8725, section 2.1).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from jwt import PyJWK, PyJWTError

from libs.access.oidc.issuers import Algorithm
from libs.runtime.errors import Unavailable
from libs.runtime.strict_json import NotStrictJson, strict_json

MAX_KEYS: Final = 100  # an issuer has a handful; a set that lists more is not one
MAX_KID_CHARS: Final = 255
RSA_BITS: Final = range(2_048, 8_193)  # below: breakable (NIST SP 800-131A); above: a signature costs us too much

_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}
_ALGORITHMS: Final[Mapping[tuple[str, str | None], Algorithm]] = {
    ("EC", "P-256"): "ES256",
    ("RSA", None): "RS256",
    ("OKP", "Ed25519"): "EdDSA",
}

_log = logging.getLogger(__name__)


class KeySetUnusable(Unavailable):
    """What came in place of a key set is none, or holds no key that we could use."""

    code = "key_set_unusable"
    title = "The issuer's keys cannot be used"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, and the one algorithm that it is used with."""

    kid: str
    algorithm: Algorithm
    key: PyJWK = field(repr=False, compare=False)


def read_key_set(content: bytes) -> dict[str, VerifyingKey]:
    """Return the keys of a set by `kid`; raise KeySetUnusable where none is left.

    Passed over: keys for another use or algorithm, weak and private ones, those without a `kid`, all that share one.
    """
    try:
        document = strict_json(content)
    except NotStrictJson as error:
        raise KeySetUnusable(f"the key set: {error}") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise KeySetUnusable(f"the key set has no list `keys` of at most {MAX_KEYS}")
    usable = [key for key in map(_verifying_key, listed) if key is not None]
    shared = Counter(key.kid for key in usable)
    keys = {key.kid: key for key in usable if shared[key.kid] == 1}
    if not keys:
        raise KeySetUnusable("the key set holds no usable key")
    if len(keys) < len(listed):
        _log.info("keys of a set are passed over", extra={"usable": len(keys), "listed": len(listed)})
    return keys


def _verifying_key(entry: object) -> VerifyingKey | None:
    if not isinstance(entry, dict) or "d" in entry:  # a private key that was published proves nothing any more
        return None
    kid, algorithm = entry.get("kid"), _algorithm_of(entry)
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARS or algorithm is None:
        return None
    members = {name: entry.get(name) for name in ("kty", *_MEMBERS[entry["kty"]])}
    try:
        key = PyJWK(members, algorithm)
    except (PyJWTError, ValueError, TypeError, AttributeError):  # PyJWT reads members of a wrong type unguarded
        return None
    is_weak = algorithm == "RS256" and key.key.key_size not in RSA_BITS
    return None if is_weak else VerifyingKey(kid, algorithm, key)


def _algorithm_of(entry: Mapping[str, object]) -> Algorithm | None:
    """The algorithm that the key is for, None where it is not for verifying by one of ours (RFC 7517, section 4)."""
    kty, curve = entry.get("kty"), entry.get("crv")
    if not isinstance(kty, str) or not isinstance(curve, str | None):
        return None
    algorithm = _ALGORITHMS.get((kty, curve))
    operations = entry.get("key_ops", ["verify"])
    is_for_verifying = entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    return algorithm if is_for_verifying and entry.get("alg", algorithm) == algorithm else None
