"""Where a service of this machine's stack has its store and broker, for verbs of an operator."""

from __future__ import annotations

import os

from deploy.local.errors import StackError
from deploy.local.places import find_places, state_folder
from deploy.local.plan import plan_backing
from deploy.local.ports import Ports
from deploy.local.service_part import ServicePart
from deploy.local.services import SERVICES
from libs.runtime.settings import ServiceSettings


def settings_of(service: str) -> ServiceSettings:
    """Return the settings that `maestro up` gave the service; without a stack here, those of the environment."""
    places = find_places(state_folder(os.environ))
    if places is None:
        return ServiceSettings()
    found = next((one for one in SERVICES if one.name == service), None)
    if found is None:
        raise StackError(f"there is no service {service}", fix=f"one of {', '.join(one.name for one in SERVICES)}")
    ports = Ports(places.ports)
    part = ServicePart(found, places, ports, plan_backing(places, ports, os.environ, SERVICES))
    return ServiceSettings.model_validate(
        {name.removeprefix("MAESTRO_").lower(): value for name, value in part.stores().items()}
    )
