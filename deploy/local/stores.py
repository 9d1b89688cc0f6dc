"""What services need of the servers behind them, whoever runs those."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local.parts import Part
from deploy.local.provision import Tenure
from libs.bus.kafka.access import KafkaAccess


class PostgresStore(Part, Protocol):
    """A PostgreSQL server."""

    def service_dsn(self, tenure: Tenure) -> str:
        """The DSN that a service is told: its own database, no login."""


class KafkaStore(Part, Protocol):
    """A Kafka cluster."""

    def access(self) -> KafkaAccess:
        """The operator's access: addresses, TLS, and a login that may do anything."""


class ValkeyStore(Part, Protocol):
    """A Valkey or Redis server."""

    def url(self) -> str:
        """The address for the limiter, with its user's name and without the password."""

    def secret_file(self) -> Path | None:
        """The file that holds the password, None where the server asks for none."""


@dataclass(frozen=True, slots=True)
class Backing:
    """The servers behind the services."""

    postgres: PostgresStore
    kafka: KafkaStore
    valkey: ValkeyStore

    def parts(self) -> tuple[Part, ...]:
        """The servers as parts of the stack."""
        return (self.postgres, self.valkey, self.kafka)
