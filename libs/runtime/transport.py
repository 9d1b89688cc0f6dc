"""What `MAESTRO_PROFILE=clustered` asks of an address before anything is sent to it: TLS whose certificate is checked.

Asked by a service of its own settings, and by `maestro up` of an administrator's.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Objection(NamedTuple):
    """What is wrong with a setting, and what to set instead."""

    problem: str
    fix: str

    def __str__(self) -> str:
        """Both in one line."""
        return f"{self.problem}: {self.fix}"


def plaintext_to_postgres(url: str) -> Objection | None:
    """Object where the driver would not check the server's certificate and name. Over a socket it knows no TLS."""
    parts = urlsplit(url)
    told = dict(parse_qsl(parts.query))
    host = told.get("host") or parts.hostname or ""
    is_network = bool(host) and not host.startswith("/")
    if is_network and told.get("sslmode") == "verify-full" and told.get("sslrootcert"):
        return None
    return Objection(
        "MAESTRO_PROFILE=clustered needs TLS to PostgreSQL",
        "MAESTRO_POSTGRES_URL names a host, with "
        "?sslmode=verify-full&sslrootcert=<PEM of the authority that signed the server's certificate>",
    )


def plaintext_to_kafka(protocol: str) -> Objection | None:
    """Object to everything but SASL_SSL: its certificates are always checked."""
    if protocol == "SASL_SSL":
        return None
    return Objection(
        "MAESTRO_PROFILE=clustered needs TLS to Kafka",
        "set MAESTRO_KAFKA_PROTOCOL=SASL_SSL, MAESTRO_KAFKA_BOOTSTRAP to brokers that speak it, and "
        "MAESTRO_KAFKA_CA_FILE to the PEM of the authority that signed their certificates",
    )
