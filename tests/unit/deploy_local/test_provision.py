"""A service's DSN keeps the place of the administrator's and nothing of his login."""

from __future__ import annotations

import pytest

from deploy.local.provision import dsn_for


@pytest.mark.parametrize(
    ("admin", "expected"),
    [
        ("postgresql://a:p@db:5433/postgres", "postgresql://db:5433/quota"),
        ("postgresql://a:p@/postgres?host=/run/pg&port=5433", "postgresql:///quota?host=/run/pg&port=5433"),
        ("postgresql://db/postgres?sslmode=require", "postgresql://db/quota?sslmode=require"),
        ("postgresql://a:p%40x@[::1]:5432/postgres", "postgresql://[::1]:5432/quota"),
    ],
)
def test_the_place_stays_and_the_login_does_not(admin: str, expected: str) -> None:
    assert dsn_for(admin, "quota") == expected


def test_the_administrator_can_stay_himself_in_another_database() -> None:
    assert dsn_for("postgresql://a:p%40x@db/postgres", "quota", keep_login=True) == "postgresql://a:p%40x@db/quota"
