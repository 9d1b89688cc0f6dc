"""A service served in the test's own event loop, over its real lifespan, until the block ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from tests.support.conditions import eventually
from tests.support.watched import watched


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Open the application, wait until it calls itself ready, and give a client of it."""
    transport = httpx.ASGITransport(app=watched(app), raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready, "the service answers 200 on /readyz")
        yield client
