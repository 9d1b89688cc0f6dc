"""Who did something, as records name them: pseudonyms that stay the same and give nobody away.

The holder of an API key is its public id. A person who came with a token is a keyed hash of issuer and subject, one who
runs an operator's command a keyed hash of the login at the operating system (HMAC-SHA-256, RFC 2104): without the
installation's key nobody can try names until one fits, as with a plain hash.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import pwd
from typing import Final

from libs.runtime.errors import Broken

MIN_KEY_CHARS: Final = 32
_PERSON: Final = "jwt_"  # no public id of a key holds an underscore
_PSEUDONYM_BYTES: Final = 15  # 120 bits, 24 base32 characters: no two people meet


class Pseudonyms:
    """Names people: `jwt_<24 base32 characters>` by (issuer, subject), `os_<24>` by login at the operating system."""

    def __init__(self, key: str) -> None:
        """Key the names with what set-up made; Broken where it is too short to be that."""
        if len(key) < MIN_KEY_CHARS:
            raise Broken(f"the key of pseudonyms has fewer than {MIN_KEY_CHARS} characters; run `maestro up`")
        self._key = key.encode()

    def of(self, issuer: str, subject: str) -> str:
        """Return the name of the subject; lengths keep (a, bc) and (ab, c) apart."""
        return _PERSON + self._hashed(f"{len(issuer)}:{issuer}{subject}")

    def of_login(self, login: str) -> str:
        """Return the name of who is logged in to the operating system as `login`."""
        return "os_" + self._hashed(f"os:{login}")  # no (issuer, subject) is hashed as this: theirs begin with a length

    def _hashed(self, told: str) -> str:
        digest = hmac.new(self._key, told.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
        return base64.b32encode(digest[:_PSEUDONYM_BYTES]).decode("ascii").lower()


def holds_token(actor: str) -> bool:
    """Return whether `actor` came with a token: a person, not a program with a key."""
    return actor.startswith(_PERSON)


def own_login() -> str:
    """Return the login that this process runs under, by its user id: the environment could name anybody."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"  # a user id without an entry, as containers give out
