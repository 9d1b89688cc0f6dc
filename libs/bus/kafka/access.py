"""How a process reaches Kafka and as whom: one value, handed to every client that is made."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from libs.bus.kafka.faults import in_our_words
from libs.runtime.errors import Broken, Unavailable
from libs.runtime.settings import KafkaProtocol, ServiceSettings, secret_from

MECHANISM: Final = "SCRAM-SHA-512"  # the password never travels, and the broker proves that it knows it too
KNOCK_TIMEOUT_MS: Final = 5_000
_REFUSALS: Final = (
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    IllegalSaslStateError,
)


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """Where the brokers are (host:port, comma separated) and the login. The password stays in its file.

    With SASL_SSL the broker's certificate must be signed by an authority of `ca_file` (PEM), without one by those that
    the machine trusts, and must name the host that was asked for.
    """

    bootstrap: str
    user: str
    password_file: Path | None
    protocol: KafkaProtocol = "SASL_PLAINTEXT"
    ca_file: Path | None = None

    def client_settings(self) -> dict[str, Any]:
        """Return what aiokafka's clients are made with. The file is read anew each time: passwords are changed.

        Raises Broken where the login is not given or the file cannot be read.
        """
        password = secret_from(self.password_file)
        if not self.user or not password:
            raise Broken("Kafka asks for a login: set MAESTRO_KAFKA_USER and MAESTRO_KAFKA_PASSWORD_FILE")
        return {"bootstrap_servers": self.bootstrap} | {
            "security_protocol": self.protocol,
            "ssl_context": _trusting(self.ca_file) if self.protocol == "SASL_SSL" else None,
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": self.user,
            "sasl_plain_password": password,
        }


def access_of(settings: ServiceSettings) -> KafkaAccess:
    """Return the access that the settings of a process describe."""
    return KafkaAccess(
        settings.kafka_bootstrap,
        settings.kafka_user,
        settings.kafka_password_file,
        settings.kafka_protocol,
        settings.kafka_ca_file,
    )


@asynccontextmanager
async def connecting(access: KafkaAccess, doing: str) -> AsyncIterator[None]:
    """Run a block that starts a client. Raises Broken where the brokers refuse us, Unavailable where none answers.

    aiokafka's clients say only that they could not connect: so the reason is asked for once more.
    """
    try:
        with in_our_words(doing):
            yield
    except Unavailable:
        await _raise_if_refused(access)
        raise


async def lets_in(access: KafkaAccess, user: str, password: str) -> bool:
    """Return whether a broker at `access` takes this login now; raises Unavailable where none answers."""
    login = {"sasl_plain_username": user, "sasl_plain_password": password}
    address, *_ = access.bootstrap.split(",")
    with in_our_words(f"logging in as {user}"):
        try:
            await _knock(access.client_settings() | login | {"bootstrap_servers": address})
        except _REFUSALS:
            return False
    return True


async def _knock(settings: dict[str, Any]) -> None:
    """Log in at the one address in `settings` and leave again; raises what aiokafka and the system do."""
    ((host, port, _),) = collect_hosts(settings.pop("bootstrap_servers"))
    connection = await create_conn(host, port, request_timeout_ms=KNOCK_TIMEOUT_MS, **settings)
    connection.close()


async def _raise_if_refused(access: KafkaAccess) -> None:
    for address in access.bootstrap.split(","):
        try:
            await _knock(access.client_settings() | {"bootstrap_servers": address})
        except _REFUSALS as error:
            raise Broken(
                f"Kafka at {address} refuses the login of {access.user!r} ({MECHANISM}): {error}. Is the password in "
                "MAESTRO_KAFKA_PASSWORD_FILE the one that the broker knows? `maestro up` sets it anew"
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise Broken(
                f"the certificate of Kafka at {address} is not trusted: {error.verify_message}. "
                "MAESTRO_KAFKA_CA_FILE must hold the authority that signed it, and it must name this host"
            ) from error
        except (KafkaError, OSError, TimeoutError):
            continue  # the block's own error says it
        return


@cache
def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
