"""Secrets of the embedded stack: made at set-up, each in a file that only its owner reads."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path

from libs.runtime.secret_files import password, write_private

__all__ = ["new_key", "operator_key", "password", "write_private"]

PUBLIC_ID_BYTES = 10  # 16 base32 characters, no padding
SECRET_BYTES = 32  # 256 bits: 43 characters of unpadded base64url


def new_key(environment: str) -> tuple[str, str]:
    """A fresh API key: (key id, whole key) of the form `mst_<env>_<16 base32>_<43 base64url>`."""
    key_id = base64.b32encode(secrets.token_bytes(PUBLIC_ID_BYTES)).decode().lower()
    return key_id, f"mst_{environment}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def operator_key(key_file: Path, digest_file: Path) -> str:
    """The operator's API key; made at the first call, with the digest file that the identity service reads.

    The digest file is JSON: `key_id`, and `digest`, the SHA-256 hex of the whole key string.
    """
    if not key_file.exists():
        _, key = new_key("local")
        write_private(key_file, key + "\n")
    key = key_file.read_text().strip()
    known = {"key_id": key.split("_", 3)[2], "digest": hashlib.sha256(key.encode()).hexdigest()}
    write_private(digest_file, json.dumps(known) + "\n")
    return key
