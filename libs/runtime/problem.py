"""Problem documents (RFC 9457): the one place where an error becomes a body."""

from __future__ import annotations

from libs.runtime.errors import MaestroError, QuotaExceeded
from libs.runtime.names import PROBLEM_BASE

MEDIA_TYPE = "application/problem+json"


def problem_of(error: MaestroError, *, instance: str | None = None) -> dict[str, object]:
    """Return the document of `error`: type, title, status, detail, `error` (our stable code), and its own members."""
    document: dict[str, object] = {
        "type": PROBLEM_BASE + error.code.replace("_", "-"),
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "error": "quota_exceeded" if isinstance(error, QuotaExceeded) else error.code,
    }
    if instance is not None:
        document["instance"] = instance
    return document | error.members
