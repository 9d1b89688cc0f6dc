"""SHA-256 (FIPS 180-4) and the two texts it is written in: lower-case hex in manifests, base64 in bundles."""

import base64
import binascii
import hashlib
import re

SHA256_BYTES = 32

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_TO_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def sha256(content: bytes) -> bytes:
    """The 32 bytes of the digest."""
    return hashlib.sha256(content).digest()


def sha256_hex(content: bytes) -> str:
    """The digest as 64 lower-case hex digits."""
    return hashlib.sha256(content).hexdigest()


def normal_hex(text: str) -> str | None:
    """A SHA-256 digest in lower case, or None. Upper case means the same digest, so it gives the same answer."""
    return text.lower() if _HEX.fullmatch(text) else None


def to_base64(content: bytes) -> str:
    """Standard alphabet, padded: what Sigstore bundles are written in."""
    return base64.b64encode(content).decode("ascii")


def from_base64(text: str) -> bytes | None:
    """The bytes of standard or URL-safe base64, padded or not (as the protobuf JSON mapping reads it), or None."""
    standard = text.translate(_TO_STANDARD_ALPHABET)
    if not _BASE64.fullmatch(standard) or ("=" in standard and len(standard) % 4):
        return None
    unpadded = standard.rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except binascii.Error:
        return None
