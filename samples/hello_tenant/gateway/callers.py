"""Who calls the gateway: tenants, by their API keys.

The gateway holds SHA-256 digests only. A digest is looked up, not the key: what a look-up's time may tell is the
digest of what the caller itself sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

_SCHEME = "bearer "


class Callers:
    """Tenants by the digest of their key."""

    def __init__(self, tenant_of_digest: Mapping[str, str]) -> None:
        self._tenant_of_digest = dict(tenant_of_digest)

    @classmethod
    def read(cls, path: Path) -> Callers:
        """Read a JSON object: SHA-256 hex of a key -> tenant id."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def tenant(self, authorization: str | None) -> str | None:
        """Return the tenant of an `Authorization: Bearer <key>` header, None where the key is not one of theirs."""
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            return None
        return self._tenant_of_digest.get(digest_of(authorization[len(_SCHEME) :].strip()))


def digest_of(key: str) -> str:
    """Return the SHA-256 hex of a key's whole text."""
    return hashlib.sha256(key.encode("utf-8")).hexdigest()
