"""A service's DSN keeps the place of the administrator's and nothing of his login."""

from __future__ import annotations

import pytest

from deploy.local.provision import Tenure, dsn_for

TENURE = Tenure("quota", "s/e:c@t")


@pytest.mark.parametrize(
    ("admin", "expected"),
    [
        ("postgresql://a:p@db:5433/postgres", "postgresql://quota@db:5433/quota"),
        ("postgresql://a:p@/postgres?host=/run/pg&port=5433", "postgresql://quota@/quota?host=/run/pg&port=5433"),
        ("postgresql://db/postgres?sslmode=require", "postgresql://quota@db/quota?sslmode=require"),
        ("postgresql://a:p%40x@[::1]:5432/postgres", "postgresql://quota@[::1]:5432/quota"),
    ],
)
def test_the_place_stays_and_the_login_is_the_services(admin: str, expected: str) -> None:
    assert dsn_for(admin, TENURE, with_password=False) == expected


def test_a_password_in_a_dsn_is_quoted() -> None:
    assert (
        dsn_for("postgresql://db/postgres", TENURE, with_password=True) == "postgresql://quota:s%2Fe%3Ac%40t@db/quota"
    )
