"""A Maestro service as a part of the stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.credentials import password
from deploy.local.http_probe import ask_ready
from deploy.local.kafka.logins import login_file
from deploy.local.parts import Launch, Say
from deploy.local.places import CHECKOUT, Places
from deploy.local.ports import HOST, Ports
from deploy.local.provision import Tenure
from deploy.local.services import Service
from deploy.local.settings import (
    ADMINISTRATIVE,
    KAFKA_CA_SETTING,
    KAFKA_LOGIN_FILE_SETTING,
    KAFKA_PROTOCOL_SETTING,
    KAFKA_SETTING,
    KAFKA_USER_SETTING,
    STATE_SETTING,
)
from deploy.local.stores import Backing
from libs.store.roles import Role, password_file

OTLP_GRPC_SETTING = "MAESTRO_OTLP_GRPC_PORT"
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV")


def tenure_of(service: Service, places: Places) -> Tenure:
    """The service's database and the passwords of its roles, which are made at the first call."""
    folder = places.secrets_of(service.name)
    folder.mkdir(mode=0o700, exist_ok=True)
    password_file(places.secrets, service.name).unlink(missing_ok=True)  # of the one role that there was before
    files = {role: password_file(folder, role.of(service.name)) for role in Role}
    for file in files.values():
        _move_in(places.secrets / file.name, file)
    return Tenure(service.name, {role: password(file) for role, file in files.items()})


def _move_in(former: Path, file: Path) -> None:
    """Take over the password of the time when all services' lay in one folder."""
    if former.exists():
        former.replace(file)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What a service takes over from the environment: the basics and settings, but no server's address.

    Settings are OpenTelemetry's and Maestro's own.

    The addresses are those of an administrator and may hold his passwords.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in KEPT_VARIABLES
        or name.startswith("OTEL_")
        or (name.startswith("MAESTRO_") and name not in ADMINISTRATIVE)
    }


class ServicePart:
    """One service of the table.

    Args:
        service: its line in the table.
        places: folders of the stack.
        ports: remembered ports.
        backing: the servers that it may need.
        command: the program and its arguments; by default `python -m services.<name>`.
    """

    ready_within_s = 60.0  # migrations and reading the compacted topics; seconds here, more on a cold disk
    waits_for = "GET /readyz"

    def __init__(
        self,
        service: Service,
        places: Places,
        ports: Ports,
        backing: Backing,
        command: Sequence[str] = (),
    ) -> None:
        self.name = service.name
        self.needs = service.needs
        self._service = service
        self._places = places
        self._ports = ports
        self._backing = backing
        self._grpc = f"{service.name} OTLP/gRPC"  # the name of that port among the remembered ones
        self._command = command or (sys.executable, "-m", f"services.{service.name}")

    def prepare(self, say: Say) -> None:
        """Choose the ports; the database was made when PostgreSQL became ready."""
        say("chooses a port")
        self._ports.free_port(self.name, wanted=self._service.port)
        if self._service.grpc_port:
            self._ports.free_port(self._grpc, wanted=self._service.grpc_port)

    def launch(self) -> Launch:
        """The service's process, its settings in the environment, its secrets in files."""
        also_at = f"OTLP/gRPC {HOST}:{self._ports.port(self._grpc)}" if self._service.grpc_port else ""
        return Launch(argv=self._command, env=self._environment(), cwd=CHECKOUT, also_at=also_at)

    async def probe(self) -> None:
        """Ask the service itself."""
        await ask_ready(HOST, self._ports.port(self.name))

    async def after_ready(self) -> None:
        """Nothing more is needed."""

    def address(self) -> str:
        """The service's URL."""
        return f"http://{HOST}:{self._ports.port(self.name)}"

    def _environment(self) -> dict[str, str]:
        folders = {"home": str(self._places.home), "secrets": str(self._places.secrets)}
        own = {name: value.format(**folders) for name, value in self._service.settings.items()}
        return {
            "MAESTRO_ENV": "local",
            "MAESTRO_REGION": "local-1",
            "MAESTRO_INSTANCE": "0",
            "MAESTRO_ACTOR_KEY_FILE": str(self._places.actor_key),
            **self._service.defaults,
            **inherited(os.environ),
            "MAESTRO_HOST": HOST,
            "MAESTRO_PORT": str(self._ports.port(self.name)),
            STATE_SETTING: str(self._places.home),
            **self.stores(),
            **own,
            **({OTLP_GRPC_SETTING: str(self._ports.port(self._grpc))} if self._service.grpc_port else {}),
            "PYTHONUNBUFFERED": "1",
        }

    def stores(self) -> dict[str, str]:
        """Where its stores and the broker are, and where the secrets for them lie: settings by name."""
        settings = {
            "MAESTRO_POSTGRES_URL": self._backing.postgres.service_dsn(tenure_of(self._service, self._places)),
            "MAESTRO_POSTGRES_SECRETS_DIR": str(self._places.secrets_of(self.name)),
            **self._kafka(),
        }
        if "valkey" in self.needs:
            settings["MAESTRO_REDIS_URL"] = self._backing.valkey.url()
            secret = self._backing.valkey.secret_file()
            settings |= {"MAESTRO_REDIS_PASSWORD_FILE": str(secret)} if secret else {}
        return settings

    def _kafka(self) -> dict[str, str]:
        """The broker's addresses and the service's own login."""
        operator = self._backing.kafka.access()
        return {
            KAFKA_SETTING: operator.bootstrap,
            KAFKA_USER_SETTING: self.name,
            KAFKA_LOGIN_FILE_SETTING: str(login_file(self._places.secrets, self.name)),
            KAFKA_PROTOCOL_SETTING: operator.protocol,
            **({KAFKA_CA_SETTING: str(operator.ca_file)} if operator.ca_file else {}),
        }
