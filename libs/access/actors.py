"""Who did something, as records name them: pseudonyms that stay the same and give nobody away.

The holder of an API key is its public id. A person who came with a token is a keyed hash of issuer and subject
(HMAC-SHA-256, RFC 2104): without the installation's key nobody can try names until one fits, as with a plain hash.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from libs.runtime.errors import Broken

MIN_KEY_CHARS: Final = 32
_PSEUDONYM_BYTES: Final = 15  # 120 bits, 24 base32 characters: no two people meet


class Pseudonyms:
    """Gives each (issuer, subject) a name of the form `jwt_<24 base32 characters>`."""

    def __init__(self, key: str) -> None:
        """Key the names with what set-up made; Broken where it is too short to be that."""
        if len(key) < MIN_KEY_CHARS:
            raise Broken(f"the key of pseudonyms has fewer than {MIN_KEY_CHARS} characters; run `maestro up`")
        self._key = key.encode()

    def of(self, issuer: str, subject: str) -> str:
        """Return the name of the subject; lengths keep (a, bc) and (ab, c) apart."""
        told = f"{len(issuer)}:{issuer}{subject}".encode("utf-8", "surrogatepass")
        digest = hmac.new(self._key, told, hashlib.sha256).digest()[:_PSEUDONYM_BYTES]
        return "jwt_" + base64.b32encode(digest).decode("ascii").lower()
