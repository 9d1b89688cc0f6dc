"""Evidence on a database of its own, and the stock cosign, built from its pin in deploy/tools/cosign."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from libs.signing.keys import SigningKey
from libs.store.opening import Pools
from libs.store.pool import Pool
from services.evidence.store import MIGRATIONS
from services.evidence.store.objects import ObjectStore
from tests.support.stores import pools_on
from tests.support.tools import built


@pytest.fixture(scope="session")
def cosign() -> Path:
    """Where the binary lies."""
    return built("cosign")


@pytest.fixture
async def pools(fresh_database: Callable[..., str]) -> AsyncIterator[Pools]:
    """Connections to an empty database of evidence."""
    async with pools_on(fresh_database("evidence"), [MIGRATIONS]) as opened:
        yield opened


@pytest.fixture
def pool(pools: Pools) -> Pool:
    """Those of the worker."""
    return pools.worker


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")
