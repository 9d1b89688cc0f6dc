"""The few ASGI shapes that the middleware needs, and how it refuses a connection of either kind.

Source: ASGI 3.0, its HTTP and WebSocket message format, and the WebSocket Denial Response extension.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

PROBLEM: Final = "application/problem+json"
TRY_AGAIN_LATER: Final = 1013  # WebSocket close code, IANA registry
_DENIAL_EXTENSION: Final = "websocket.http.response"
_BEARER: Final = b"bearer "


def bearer_token(scope: Scope) -> str | None:
    """Return the token of `Authorization: Bearer <token>` (RFC 6750), None where there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            return str(value[len(_BEARER) :].strip(), "latin-1") or None
    return None


def raw_headers(fields: Mapping[str, str]) -> Headers:
    """Return HTTP fields as ASGI carries them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal: status, body and HTTP fields, its content type among them."""

    status: int
    body: bytes
    fields: Mapping[str, str]

    async def send(self, scope: Scope, send: Send) -> None:
        """Refuse an HTTP request, or a WebSocket that is not accepted yet."""
        kind = "http.response"
        if scope["type"] == "websocket":
            if _DENIAL_EXTENSION not in (scope.get("extensions") or {}):
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": str(self.status)})
                return
            kind = _DENIAL_EXTENSION
        headers = [*raw_headers(self.fields), (b"content-length", str(len(self.body)).encode("ascii"))]
        await send({"type": f"{kind}.start", "status": self.status, "headers": headers})
        await send({"type": f"{kind}.body", "body": self.body})


def problem(status: int, code: str, title: str, fields: Mapping[str, str]) -> Denial:
    """Return a refusal of our own as a problem document (RFC 9457)."""
    document = {
        "type": f"https://maestro.example/problems/{code.replace('_', '-')}",
        "title": title,
        "status": status,
        "error": code,
    }
    return Denial(status, json.dumps(document).encode("utf-8"), {"content-type": PROBLEM, **fields})


NO_KEY: Final = problem(
    401, "unauthenticated", "A valid API key is needed", {"www-authenticate": 'Bearer realm="maestro"'}
)
NO_ANSWER: Final = problem(503, "quota_unavailable", "Limits cannot be checked now", {"retry-after": "1"})
