"""Servers of yours in place of the embedded ones: nothing is started, only asked, and the databases are made there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from deploy.local.kafka.probe import ask_broker, furnish
from deploy.local.parts import Say
from deploy.local.places import Places
from deploy.local.postgres import ask_postgres, make_databases
from deploy.local.provision import Tenure, dsn_for
from deploy.local.settings import (
    KAFKA_CA_SETTING,
    KAFKA_LOGIN_FILE_SETTING,
    KAFKA_PROTOCOL_SETTING,
    KAFKA_SETTING,
    KAFKA_USER_SETTING,
)
from deploy.local.valkey import ask_valkey
from libs.bus.kafka.access import KafkaAccess
from libs.runtime.settings import secret_from

ANSWER_WITHIN_S = 20.0  # a system server runs already: no answer by then means a wrong address


class _System:
    """What the three share: no process, no preparation."""

    needs: tuple[str, ...] = ()
    ready_within_s = ANSWER_WITHIN_S

    def prepare(self, say: Say) -> None:
        """Nothing to prepare."""
        say("is a server of yours")

    def launch(self) -> None:
        """Nothing to start."""
        return


class SystemPostgres(_System):
    """The PostgreSQL that `MAESTRO_POSTGRES_URL` names.

    Args:
        admin_dsn: DSN of a role that may create roles and databases, without its password.
        password_file: holds the password; None where the server asks for none.
        tenures: the databases to provide there.
    """

    name = "postgres"
    waits_for = "an authenticated query of the server that MAESTRO_POSTGRES_URL names"

    def __init__(self, admin_dsn: str, password_file: Path | None, tenures: Sequence[Tenure]) -> None:
        self._admin_dsn = admin_dsn
        self._password_file = password_file
        self._tenures = tenures

    async def probe(self) -> None:
        """Log in as the administrator and run a query."""
        await ask_postgres(self._login())

    async def after_ready(self) -> None:
        """Provide the services' databases and roles."""
        await make_databases(self._login(), self._tenures)

    def service_dsn(self, tenure: Tenure) -> str:
        """The DSN that a service is told."""
        return dsn_for(self._admin_dsn, tenure.name)

    def address(self) -> str:
        """Host and port, without the login."""
        return urlsplit(self._admin_dsn).netloc.rpartition("@")[2] or "by socket"

    def _login(self) -> str:
        """The DSN with the password, for the driver only. The file is read anew each time: passwords are changed."""
        secret = secret_from(self._password_file)
        if secret is None:
            return self._admin_dsn
        follows = "&" if urlsplit(self._admin_dsn).query else "?"
        return f"{self._admin_dsn}{follows}password={quote(secret, safe='')}"


class SystemValkey(_System):
    """The Valkey or Redis that `MAESTRO_REDIS_URL` names.

    Args:
        url: `redis://`, `rediss://` or `unix://`, without a password.
        password_file: holds the password; None where the server asks for none.
        places: folders of the stack.
    """

    name = "valkey"
    waits_for = "a PING of the server that MAESTRO_REDIS_URL names"

    def __init__(self, url: str, password_file: Path | None, places: Places) -> None:
        self._url = url
        self._file = password_file
        self._former_file = places.secrets / "valkey.system.password"

    def prepare(self, say: Say) -> None:
        """Remove the copy of the password that was kept when it came in the address."""
        super().prepare(say)
        self._former_file.unlink(missing_ok=True)

    async def probe(self) -> None:
        """Authenticate and ping."""
        await ask_valkey(self._url, secret_from(self._file))

    async def after_ready(self) -> None:
        """Nothing more is needed."""

    def url(self) -> str:
        """The address with the user's name."""
        return self._url

    def secret_file(self) -> Path | None:
        """The file that holds the password, None without one."""
        return self._file

    def address(self) -> str:
        """The address without the login."""
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class SystemKafka(_System):
    """The Kafka that `MAESTRO_KAFKA_BOOTSTRAP` names. Topics, logins and ACLs are made there.

    Args:
        operator: where it is, and the login of a super user.
        users: the logins to make, by name, with the files that hold their passwords.
    """

    name = "kafka"
    waits_for = "a login, metadata and a group coordinator from MAESTRO_KAFKA_BOOTSTRAP"

    def __init__(self, operator: KafkaAccess, users: Mapping[str, Path]) -> None:
        self._operator = operator
        self._users = users

    async def probe(self) -> None:
        """Log in as the operator, ask for the cluster's metadata and a group's coordinator."""
        await ask_broker(self._operator)

    async def after_ready(self) -> None:
        """Make topics and logins, and say who may do what."""
        await furnish(self._operator, self._users)

    def access(self) -> KafkaAccess:
        """The operator's access."""
        return self._operator

    def address(self) -> str:
        """The addresses, without the login."""
        return self._operator.bootstrap


def system_kafka(environ: Mapping[str, str]) -> KafkaAccess:
    """The operator's access to the Kafka of yours that the settings name."""
    password, authorities = environ.get(KAFKA_LOGIN_FILE_SETTING), environ.get(KAFKA_CA_SETTING)
    return KafkaAccess(
        environ[KAFKA_SETTING],
        environ.get(KAFKA_USER_SETTING, ""),
        Path(password) if password else None,
        "SASL_SSL" if environ.get(KAFKA_PROTOCOL_SETTING) == "SASL_SSL" else "SASL_PLAINTEXT",
        Path(authorities) if authorities else None,
    )
