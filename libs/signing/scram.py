"""SCRAM (RFC 5802): what a server keeps in place of a password."""

import hashlib
from secrets import token_bytes
from typing import Final, NamedTuple

SALT_BYTES: Final = 16
ITERATIONS: Final = 4096  # RFC 5802's least; our passwords are 192 random bits, which no dictionary holds


class Salted(NamedTuple):
    """A password as the server learns it once. Whoever has it can log in, so it is a secret as the password is."""

    salt: bytes
    iterations: int
    salted_password: bytes

    def __repr__(self) -> str:
        return "Salted(...)"


def salted(password: str) -> Salted:
    """Return the password under a fresh salt for SCRAM-SHA-512: `Hi()` of RFC 5802, section 2.2, with RFC 7677's rules.

    The password is taken as it is, without SASLprep: ours are URL-safe ASCII.
    """
    salt = token_bytes(SALT_BYTES)
    return Salted(salt, ITERATIONS, hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS))
