"""Secrets that we make: each in a file that only its owner reads, made once."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

PASSWORD_BYTES: Final = 24  # 192 bits: beyond guessing, and short enough for every server


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads (0600), whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def password(path: Path) -> str:
    """Return the password kept in `path`; made at the first call. URL-safe characters only."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(PASSWORD_BYTES))
    return path.read_text().strip()
