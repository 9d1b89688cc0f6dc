"""How a test tells a service, or a process of it, where the broker is and as whom to log in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.local.kafka.logins import OPERATOR, login_file
from deploy.local.places import Places
from libs.bus.kafka import KafkaAccess

KafkaOf = Callable[[str], KafkaAccess]


def operator_access(places: Places, address: str) -> KafkaAccess:
    """The operator's access to the embedded broker of a stack."""
    return KafkaAccess(address, OPERATOR, login_file(places.secrets, OPERATOR))


def kafka_settings(access: KafkaAccess) -> dict[str, Any]:
    """The fields of a service's settings."""
    return {
        "kafka_bootstrap": access.bootstrap,
        "kafka_user": access.user,
        "kafka_password_file": access.password_file,
        "kafka_protocol": access.protocol,
        "kafka_ca_file": access.ca_file,
    }


def kafka_environment(access: KafkaAccess) -> dict[str, str]:
    """The same as a process is told it."""
    return {f"MAESTRO_{name}".upper(): str(value) for name, value in kafka_settings(access).items() if value}
