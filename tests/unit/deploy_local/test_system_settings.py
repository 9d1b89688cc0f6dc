"""Settings of servers of yours that would let a secret be seen are refused, with what to set instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.errors import Missing
from deploy.local.system_settings import refuse_unsafe

TLS = {
    "MAESTRO_PROFILE": "clustered",
    "MAESTRO_POSTGRES_URL": "postgresql://admin@db.internal/postgres?sslmode=verify-full&sslrootcert=/etc/ca.pem",
    "MAESTRO_REDIS_URL": "rediss://limiter@cache.internal:6380?ssl_ca_certs=/etc/ca.pem",
    "MAESTRO_KAFKA_BOOTSTRAP": "broker.internal:9093",
    "MAESTRO_KAFKA_PROTOCOL": "SASL_SSL",
}


def refusal(environ: dict[str, str]) -> Missing:
    with pytest.raises(Missing) as refused:
        refuse_unsafe(environ)
    return refused.value


@pytest.mark.parametrize("environ", [{}, TLS, {"MAESTRO_POSTGRES_URL": "postgresql://admin@db.internal/postgres"}])
def test_what_lets_nothing_be_seen_is_taken(environ: dict[str, str]) -> None:
    refuse_unsafe(environ)


def test_all_three_are_named_at_once() -> None:
    refused = refusal({"MAESTRO_PROFILE": "clustered"})
    assert refused.message.count("MAESTRO_PROFILE=clustered needs TLS to") == 3
    named = [name for name in ("POSTGRES_URL", "KAFKA_BOOTSTRAP", "REDIS_URL") if f"MAESTRO_{name}" in refused.fix]
    assert named == ["POSTGRES_URL", "KAFKA_BOOTSTRAP", "REDIS_URL"]


def test_the_embedded_broker_has_no_tls_whatever_the_protocol_says() -> None:
    assert refusal({**TLS, "MAESTRO_KAFKA_BOOTSTRAP": ""}).message.endswith("needs TLS to Kafka")


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("POSTGRES", "postgresql://admin:seen@db.internal/postgres"),
        ("POSTGRES", "postgresql:///postgres?host=/run/postgresql&user=admin&password=seen"),
        ("REDIS", "redis://limiter:seen@cache.internal"),
        ("REDIS", "redis://cache.internal?password=seen"),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(setting: str, address: str) -> None:
    refused = refusal({f"MAESTRO_{setting}_URL": address})
    assert refused.message == f"MAESTRO_{setting}_URL holds a password"
    assert f"a file of mode 0600, name that in MAESTRO_{setting}_PASSWORD_FILE" in refused.fix
    assert "seen" not in refused.message + refused.fix


@pytest.mark.parametrize(("name", "server"), [("POSTGRES", "POSTGRES_URL"), ("REDIS", "REDIS_URL")])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, name: str, server: str) -> None:
    file = tmp_path / "password"
    file.write_text("secret")
    file.chmod(0o640)
    refused = refusal({f"MAESTRO_{server}": "redis://x", f"MAESTRO_{name}_PASSWORD_FILE": str(file)})
    assert refused.message == f"{file}, which MAESTRO_{name}_PASSWORD_FILE names, is open to others"
    assert refused.fix == f"chmod 600 {file}"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    environ = {"MAESTRO_KAFKA_BOOTSTRAP": "broker", "MAESTRO_KAFKA_PASSWORD_FILE": str(tmp_path / "absent")}
    assert "cannot be read" in refusal(environ).message


@pytest.mark.parametrize(
    ("setting", "fix"),
    [
        ("MAESTRO_PROFILE", "set MAESTRO_PROFILE to embedded or clustered"),
        ("MAESTRO_KAFKA_PROTOCOL", "set MAESTRO_KAFKA_PROTOCOL to SASL_PLAINTEXT or SASL_SSL"),
    ],
)
def test_a_misspelt_word_is_no_weaker_choice(setting: str, fix: str) -> None:
    assert fix in refusal({setting: "clusterd"}).fix
