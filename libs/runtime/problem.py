"""Problem documents (RFC 9457): the one place where an error becomes a body."""

from __future__ import annotations

from typing import Any, Final

from libs.runtime.errors import MaestroError, QuotaExceeded
from libs.runtime.names import PROBLEM_BASE

MEDIA_TYPE = "application/problem+json"
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "A problem document (RFC 9457). Programs go by `error`, which is stable; members beyond these "
    "belong to the one error.",
    "required": ["type", "title", "status", "detail", "error", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "what is wrong and what to do, for people"},
        "error": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
        "instance": {"type": "string", "description": "the path of the request"},
        "request_id": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "description": "with `malformed`: each place that is wrong",
            "items": {
                "type": "object",
                "required": ["at", "why"],
                "properties": {"at": {"type": "string"}, "why": {"type": "string"}},
            },
        },
    },
    "examples": [
        {
            "type": PROBLEM_BASE + "forbidden",
            "title": "The key does not allow this",
            "status": 403,
            "detail": "the key needs the scope tenants:write",
            "error": "forbidden",
            "instance": "/v1/tenants",
            "request_id": "3f2c9a7be0d14c1f8a6b5d4e3c2b1a09",
            "scope": "tenants:write",
        }
    ],
}


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
