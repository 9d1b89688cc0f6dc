"""An empty database, and a pool on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from libs.store.pool import Pool, open_pool
from libs.store.roles import Role
from tests.support.stores import Address


@pytest.fixture
def dsn(fresh_database: Callable[..., str]) -> str:
    return fresh_database("store")


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """The owner's, who makes the tables."""
    opened = await open_pool(Address(dsn), Role.OWNER, name="test")
    yield opened
    await opened.close()
