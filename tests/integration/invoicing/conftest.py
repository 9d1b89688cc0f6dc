"""What invoicing's tests on real servers share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.store.pool import Pool
from tests.support.invoicing_rows import Desk, FreshDatabase, invoicing_pool


@pytest.fixture
async def pool(fresh_database: FreshDatabase) -> AsyncIterator[Pool]:
    """A pool on an empty database with invoicing's tables."""
    async with invoicing_pool(fresh_database("invoicing")) as opened:
        yield opened


@pytest.fixture
def desk() -> Desk:
    """Invoicing's handlers."""
    return Desk()
