"""The text of an API key: `mst_<env>_<public id>_<secret>`.

The public id (80 random bits, base32) finds the key; the secret (256 random bits, base64url, RFC 4648 section 5) proves
it. Only the SHA-256 digest of the whole text is ever stored: with 256 bits of entropy a slow hash would add cost to
every request and nothing to an attacker's work. The prefix lets secret scanners find a leaked key.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

Randomness = Callable[[int], bytes]
"""Returns that many unpredictable bytes: `secrets.token_bytes` in a process, a seeded source in a test."""

ENV: Final = re.compile(r"[a-z0-9]{1,16}")
KEY_ID: Final = re.compile(r"[a-z2-7]{16}")
MAX_KEY_CHARS: Final = 4 + 16 + 1 + 16 + 1 + 43

_TEXT: Final = re.compile(rf"mst_(?P<env>{ENV.pattern})_(?P<key_id>{KEY_ID.pattern})_[A-Za-z0-9_-]{{43}}")
_KEY_ID_BYTES: Final = 10
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its holder has it. `text` is the secret itself: it is shown once and never in a representation."""

    env: str
    key_id: str
    text: str = field(repr=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole text, 32 bytes."""
        return digest_of(self.text)


def digest_of(text: str) -> bytes:
    """Return SHA-256 of a key's whole text, 32 bytes."""
    return hashlib.sha256(text.encode("utf-8")).digest()


def new_key(env: str, randomness: Randomness) -> ApiKey:
    """Return a new key of the environment `env` ([a-z0-9], 1 to 16 characters); ValueError for another."""
    if ENV.fullmatch(env) is None:
        raise ValueError(f"an environment is 1 to 16 characters of a-z, 0-9, not {env!r}")
    key_id = base32_id(randomness, _KEY_ID_BYTES)
    secret = base64.urlsafe_b64encode(randomness(_SECRET_BYTES)).rstrip(b"=").decode("ascii")
    return ApiKey(env, key_id, f"mst_{env}_{key_id}_{secret}")


def base32_id(randomness: Randomness, byte_count: int) -> str:
    """Return that many random bytes as lower-case base32 without padding (RFC 4648, section 6)."""
    return base64.b32encode(randomness(byte_count)).rstrip(b"=").decode("ascii").lower()


def parse_key(text: str) -> ApiKey | None:
    """Return the key whose text this is, None where it has not the form of one. Does not say that it is ours."""
    found = _TEXT.fullmatch(text) if len(text) <= MAX_KEY_CHARS else None
    return None if found is None else ApiKey(found["env"], found["key_id"], text)
