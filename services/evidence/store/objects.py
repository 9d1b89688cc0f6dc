"""Files named by the SHA-256 of what they hold, so that writing one again writes the same file.

They are written before the transaction that refers to them commits: a row without its file cannot be; a file without a
row is harmless and becomes whole when the event is handled again.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Final

from libs.runtime.errors import NotFound
from libs.signing.digests import sha256_hex
from services.evidence.errors import ObjectCorrupted

READ_ONLY: Final = 0o444


class ObjectStore:
    """A folder of immutable files: `sha256/<two digits>/<digest>`. Its methods block; call them off the event loop."""

    def __init__(self, root: Path) -> None:
        """Keep the files below `root`, which is made when first needed."""
        self._root = root

    def path_of(self, digest: str) -> Path:
        """Return where the content of this digest lies. The digest must be 64 lower-case hex digits."""
        return self._root / "sha256" / digest[:2] / digest

    def put(self, content: bytes) -> str:
        """Keep `content` durably and return its digest. A file that is damaged is mended, a good one left alone."""
        digest = sha256_hex(content)
        path = self.path_of(digest)
        if not self._is_whole(path, content):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_durably(path, content)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the content; raise NotFound, or ObjectCorrupted where it no longer has its digest."""
        try:
            content = self.path_of(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no content with SHA-256 {digest} is kept here") from None
        if sha256_hex(content) != digest:
            raise ObjectCorrupted(f"{self.path_of(digest)} was damaged: restore it from a backup or a replica")
        return content

    def _is_whole(self, path: Path, content: bytes) -> bool:
        try:
            return path.read_bytes() == content
        except FileNotFoundError:
            return False


def _write_durably(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), READ_ONLY)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    # The new names: of the file, of its folder, and of that one's folder, which may all be new.
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
