"""TLS in front of a server that listens on a socket: the embedded servers are built without, production's have it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.far_side import Authority

SSL_REQUEST_BYTES = 8  # PostgreSQL, frontend/backend protocol: a client asks for TLS before it begins
CHUNK_BYTES = 65_536


@asynccontextmanager
async def tls_before(socket: Path, authority: Authority, *, is_postgres: bool) -> AsyncIterator[int]:
    """Listen on loopback for TLS, pass everything on to `socket`, and give the port."""
    context = authority.server_context()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if is_postgres:
                await reader.readexactly(SSL_REQUEST_BYTES)
                writer.write(b"S")
                await writer.start_tls(context)
            beyond_reader, beyond_writer = await asyncio.open_unix_connection(str(socket))
            await asyncio.gather(_pass_on(reader, beyond_writer), _pass_on(beyond_reader, writer))

    front: ssl.SSLContext | None = None if is_postgres else context
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=front)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()
