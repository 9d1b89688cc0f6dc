"""An empty database, and a pool on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from libs.store.pool import Pool, open_pool
from tests.support.bus import Address


@pytest.fixture
async def pool(fresh_database: Callable[..., str]) -> AsyncIterator[Pool]:
    opened = await open_pool(Address(fresh_database("store")), name="test")
    yield opened
    await opened.close()
