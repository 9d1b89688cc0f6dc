"""The supervisor's program with two small services: `python -m tests.support.small_stack HOME`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.parts import Part
from deploy.local.places import Places
from deploy.local.plan import plan_backing
from deploy.local.ports import Ports
from deploy.local.service_part import ServicePart
from deploy.local.services import Service
from deploy.local.supervise import main

PROGRAM = "tests.support.small_stack"
COMMAND = (sys.executable, "-m", "tests.support.small_service")
SMALL_SERVICES = (
    Service("first", port=0, owns="nothing", needs=("postgres", "kafka", "valkey")),
    Service("second", port=0, owns="nothing"),
)


def plan_small(places: Places, environ: Mapping[str, str]) -> list[Part]:
    """The servers and two small services."""
    ports = Ports(places.ports)
    backing = plan_backing(places, ports, environ, SMALL_SERVICES)
    services = [ServicePart(service, places, ports, backing, COMMAND) for service in SMALL_SERVICES]
    return [*backing.parts(), *services]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), plan_small))
