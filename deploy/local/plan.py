"""Which parts a stack has: the servers, embedded or yours, and every service of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.local.accounts import unprivileged_account
from deploy.local.credentials import operator_key, password
from deploy.local.kafka.jars import JAR_FOLDER
from deploy.local.kafka.logins import login_file
from deploy.local.kafka.server import Kafka
from deploy.local.parts import Part
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.postgres import Postgres
from deploy.local.service_part import ServicePart, tenure_of
from deploy.local.services import SERVICES, Service
from deploy.local.settings import KAFKA_SETTING, LOGIN_FILES, POSTGRES_SETTING, REDIS_SETTING
from deploy.local.stores import Backing
from deploy.local.system_servers import SystemKafka, SystemPostgres, SystemValkey, system_kafka
from deploy.local.system_settings import refuse_unsafe
from deploy.local.valkey import Valkey


def _no_other_command(_service: Service) -> Sequence[str]:
    return ()


def plan_parts(
    places: Places,
    environ: Mapping[str, str],
    services: Sequence[Service] = SERVICES,
    command_of: Callable[[Service], Sequence[str]] = _no_other_command,
) -> list[Part]:
    """Every part of the stack, servers first; makes the secrets that are not there yet.

    Args:
        places: folders of the stack.
        environ: the settings; the three server settings put a server of yours in place of an embedded one.
        services: the table of services.
        command_of: the program of a service and its arguments; empty for its own.
    """
    operator_key(places.operator_key, places.operator_digest)
    password(places.actor_key)
    ports = Ports(places.ports)
    backing = plan_backing(places, ports, environ, services)
    return [*backing.parts(), *(ServicePart(one, places, ports, backing, command_of(one)) for one in services)]


def plan_backing(places: Places, ports: Ports, environ: Mapping[str, str], services: Sequence[Service]) -> Backing:
    """The servers behind the services.

    Raises:
        Missing: the settings of a server of yours would let a secret be seen.
    """
    refuse_unsafe(environ)
    tenures = [tenure_of(service, places) for service in services]
    users = {service.name: login_file(places.secrets, service.name) for service in services}
    dsn, bootstrap, url = (environ.get(name) for name in (POSTGRES_SETTING, KAFKA_SETTING, REDIS_SETTING))
    files = {name: Path(environ[file]) if environ.get(file) else None for name, file in LOGIN_FILES.items()}
    return Backing(
        postgres=SystemPostgres(dsn, files[POSTGRES_SETTING], tenures)
        if dsn
        else Postgres(places, ports, unprivileged_account(environ), tenures),
        kafka=SystemKafka(system_kafka(environ), users) if bootstrap else Kafka(places, ports, JAR_FOLDER, users),
        valkey=SystemValkey(url, files[REDIS_SETTING], places) if url else Valkey(places),
    )
