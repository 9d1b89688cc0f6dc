"""Where the broker of this machine's stack and a service's store are, for verbs of an operator."""

from __future__ import annotations

import os

from deploy.local.errors import StackError
from deploy.local.places import Places, find_places, state_folder
from deploy.local.plan import plan_backing
from deploy.local.ports import Ports
from deploy.local.service_part import ServicePart
from deploy.local.services import SERVICES
from deploy.local.stores import Backing
from libs.runtime.settings import ServiceSettings


def settings_of(service: str | None) -> ServiceSettings:
    """Return the settings that `maestro up` gave the service, with the operator's login at the broker.

    Without a service they lead to the broker only; without a stack here they are those of the environment.
    """
    places = find_places(state_folder(os.environ))
    if places is None:
        return ServiceSettings()
    ports = Ports(places.ports)
    backing = plan_backing(places, ports, os.environ, SERVICES)
    stores = {} if service is None else _stores(service, places, ports, backing)
    operator = backing.kafka.access()
    return ServiceSettings.model_validate(
        {name.removeprefix("MAESTRO_").lower(): value for name, value in stores.items()}
        | {
            "state_dir": places.home,
            "actor_key_file": places.actor_key,
            "kafka_bootstrap": operator.bootstrap,
            "kafka_user": operator.user,
            "kafka_password_file": operator.password_file,
            "kafka_protocol": operator.protocol,
            "kafka_ca_file": operator.ca_file,
        }
    )


def _stores(service: str, places: Places, ports: Ports, backing: Backing) -> dict[str, str]:
    found = next((one for one in SERVICES if one.name == service), None)
    if found is None:
        raise StackError(f"there is no service {service}", fix=f"one of {', '.join(one.name for one in SERVICES)}")
    return ServicePart(found, places, ports, backing).stores()
