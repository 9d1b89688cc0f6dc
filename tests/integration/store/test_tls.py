"""PostgreSQL and Valkey over TLS: the server's certificate and name are checked, and there is no way around it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from libs.runtime.clock import SystemClock
from libs.runtime.errors import Unavailable
from libs.store.pool import open_pool
from libs.store.roles import Role, database_of
from services.quota.domain.gcra import Rate
from services.quota.errors import QuotaUnavailable
from services.quota.settings import QuotaSettings
from services.quota.store.limiter import Limiter, connect_limiter
from tests.support.far_side import Authority, make_authority
from tests.support.quota_service import fresh_tenant_id
from tests.support.stack import ROLE_PASSWORD
from tests.support.stores import Address
from tests.support.tls_front import tls_before

PATIENCE_S = 5.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority, and what it gave to localhost."""
    return make_authority(tmp_path, "localhost")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that signed nothing of ours."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    return make_authority(folder, "localhost")


@pytest_asyncio.fixture
async def postgres_port(dsn: str, authority: Authority) -> AsyncIterator[int]:
    query = parse_qs(urlsplit(dsn).query)
    socket = Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}"
    async with tls_before(socket, authority, is_postgres=True) as port:
        yield port


@pytest_asyncio.fixture
async def valkey_port(valkey_url: str, authority: Authority) -> AsyncIterator[int]:
    async with tls_before(Path(urlsplit(valkey_url).path), authority, is_postgres=False) as port:
        yield port


async def login_over_tls(dsn: str, host: str, port: int, ca_file: Path) -> str:
    url = f"postgresql://:{ROLE_PASSWORD}@{host}:{port}/{database_of(dsn)}?sslmode=verify-full&sslrootcert={ca_file}"
    QuotaSettings(profile="clustered", postgres_url=url, redis_url="rediss://cache", kafka_protocol="SASL_SSL")
    async with await open_pool(Address(url), Role.API, name="test") as pool:
        return str(await pool.fetchval("SELECT current_user"))


def limiter_over_tls(host: str, port: int, ca_file: Path, password: str) -> Limiter:
    url = f"rediss://quota@{host}:{port}?ssl_ca_certs={ca_file}"
    return connect_limiter(url, password, SystemClock(), patience_s=PATIENCE_S)


async def spend(limiter: Limiter) -> bool:
    try:
        return (await limiter.spend(fresh_tenant_id(), "qps", Rate.with_one_second_of_burst(5), 1)).allowed
    finally:
        await limiter.close()


async def test_a_service_logs_in_over_tls(dsn: str, postgres_port: int, authority: Authority) -> None:
    login = await login_over_tls(dsn, "localhost", postgres_port, authority.ca_file)

    assert login == Role.API.of(database_of(dsn))


async def test_a_database_that_another_authority_vouches_for_is_refused(
    dsn: str, postgres_port: int, stranger: Authority
) -> None:
    with pytest.raises((ssl.SSLCertVerificationError, Unavailable), match="certificate verify failed"):
        await login_over_tls(dsn, "localhost", postgres_port, stranger.ca_file)


async def test_a_database_under_another_name_is_refused(dsn: str, postgres_port: int, authority: Authority) -> None:
    with pytest.raises((ssl.SSLCertVerificationError, Unavailable), match="certificate verify failed"):
        await login_over_tls(dsn, "127.0.0.1", postgres_port, authority.ca_file)


async def test_the_limiter_spends_over_tls(valkey_port: int, authority: Authority, valkey_password: str) -> None:
    assert await spend(limiter_over_tls("localhost", valkey_port, authority.ca_file, valkey_password))


async def test_a_valkey_that_another_authority_vouches_for_is_refused(
    valkey_port: int, stranger: Authority, valkey_password: str
) -> None:
    with pytest.raises(QuotaUnavailable):
        await spend(limiter_over_tls("localhost", valkey_port, stranger.ca_file, valkey_password))


async def test_a_valkey_under_another_name_is_refused(
    valkey_port: int, authority: Authority, valkey_password: str
) -> None:
    with pytest.raises(QuotaUnavailable):
        await spend(limiter_over_tls("127.0.0.1", valkey_port, authority.ca_file, valkey_password))
