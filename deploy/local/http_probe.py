"""Asks a service over HTTP whether it is ready; a dozen lines instead of an HTTP client's half second of imports."""

from __future__ import annotations

import asyncio
import json

from deploy.local.parts import NotReady, not_ready

ANSWER_BYTES_MAX = 65536
ANSWER_WITHIN_S = 5.0
OK = 200


async def ask_ready(host: str, port: int) -> None:
    """Return when `GET /readyz` answers 200.

    Raises:
        NotReady: nobody listens yet, or the service says what it still waits for.
    """
    try:
        status, body = await asyncio.wait_for(get(host, port, "/readyz"), ANSWER_WITHIN_S)
    except (OSError, TimeoutError, ValueError) as problem:
        raise not_ready(problem) from problem
    if status != OK:
        raise NotReady(_detail(body) or f"it answers {status}")


async def get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Return status and body of `GET path`; status 0 where what came is no HTTP. Raises OSError or ValueError."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        answer = await reader.read(ANSWER_BYTES_MAX)
        while chunk := await reader.read(ANSWER_BYTES_MAX):
            answer += chunk
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]) if b" " in head else 0, body


def _detail(body: bytes) -> str:
    """The `detail` of a problem document (RFC 9457), empty if the body is none."""
    try:
        return str(json.loads(body).get("detail", ""))
    except (ValueError, AttributeError):
        return ""
