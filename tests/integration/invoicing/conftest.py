"""What invoicing's tests on real servers share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.store.pool import Pool
from tests.support.invoicing_rows import Desk, FreshDatabase, invoicing_pool


@pytest.fixture
def dsn(fresh_database: FreshDatabase) -> str:
    """An empty database."""
    return fresh_database("invoicing")


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """The worker's pool on a database with invoicing's tables."""
    async with invoicing_pool(dsn) as opened:
        yield opened


@pytest.fixture
def desk() -> Desk:
    """Invoicing's handlers."""
    return Desk()
