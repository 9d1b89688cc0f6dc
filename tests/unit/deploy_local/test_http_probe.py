"""A service is ready when it says so itself; otherwise it says what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from deploy.local.http_probe import ask_ready
from deploy.local.parts import NotReady
from deploy.local.ports import HOST

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PROBLEM = b'{"detail": "the relay has not started"}'


def _answering(head: bytes, body: bytes = b"") -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + head + b"\r\n\r\n" + body)
        writer.close()

    return serve


@asynccontextmanager
async def _serving(serve: Serve) -> AsyncIterator[int]:
    async with await asyncio.start_server(serve, HOST, 0) as server:
        yield int(server.sockets[0].getsockname()[1])


async def test_an_answer_of_200_is_readiness() -> None:
    async with _serving(_answering(b"200 OK")) as port:
        await ask_ready(HOST, port)


async def test_a_service_that_is_not_ready_says_why() -> None:
    async with _serving(_answering(b"503 Service Unavailable", PROBLEM)) as port:
        with pytest.raises(NotReady, match="the relay has not started"):
            await ask_ready(HOST, port)


async def test_an_answer_without_a_problem_document_is_told_by_its_status() -> None:
    async with _serving(_answering(b"500 Oops", b"<html>")) as port:
        with pytest.raises(NotReady, match="it answers 500"):
            await ask_ready(HOST, port)


async def test_a_port_that_nobody_listens_on_is_no_readiness(unused_tcp_port: int) -> None:
    with pytest.raises(NotReady, match="does not listen yet"):
        await ask_ready(HOST, unused_tcp_port)


async def test_a_connection_that_closes_without_a_word_is_no_readiness() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with _serving(hang_up) as port:
        with pytest.raises(NotReady):
            await ask_ready(HOST, port)
