"""A clustered profile reaches its stores over TLS that is checked, or does not start."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from libs.runtime.settings import ServiceSettings
from services.quota.settings import QuotaSettings

POSTGRES = "postgresql://db.internal/quota?sslmode=verify-full&sslrootcert=/etc/ca.pem"
VALKEY = "rediss://quota@cache.internal:6380?ssl_ca_certs=/etc/ca.pem"
TLS_TO_KAFKA: dict[str, Any] = {"kafka_protocol": "SASL_SSL"}


def clustered(**told: str) -> QuotaSettings:
    return QuotaSettings(profile="clustered", **({"postgres_url": POSTGRES, "redis_url": VALKEY} | TLS_TO_KAFKA | told))


def test_with_tls_to_both_stores_it_starts() -> None:
    assert clustered().profile == "clustered"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.internal/quota",
        "postgresql://db.internal/quota?sslmode=disable",
        "postgresql://db.internal/quota?sslmode=prefer&sslrootcert=/etc/ca.pem",
        "postgresql://db.internal/quota?sslmode=require&sslrootcert=/etc/ca.pem",
        "postgresql://db.internal/quota?sslmode=verify-ca&sslrootcert=/etc/ca.pem",
        "postgresql://db.internal/quota?sslmode=verify-full",
        "postgresql:///quota?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql:///quota?host=/run/postgresql&sslmode=verify-full&sslrootcert=/etc/ca.pem",
    ],
)
def test_a_database_whose_certificate_is_not_checked_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"needs TLS to PostgreSQL.*sslmode=verify-full&sslrootcert="):
        clustered(postgres_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://quota@cache.internal:6379",
        "unix://quota@/run/valkey.sock",
        f"{VALKEY}&ssl_cert_reqs=none",
        f"{VALKEY}&ssl_check_hostname=false",
    ],
)
def test_a_valkey_whose_certificate_is_not_checked_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"needs TLS to Valkey.*rediss://"):
        clustered(redis_url=url)


@pytest.mark.parametrize("url", ["postgresql://db.internal/quota", "postgresql:///quota?host=/run/postgresql"])
def test_an_embedded_profile_needs_none(url: str) -> None:
    assert ServiceSettings(profile="embedded", postgres_url=url).postgres_url == url
