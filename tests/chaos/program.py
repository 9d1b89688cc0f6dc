"""The supervisor of the chaos stack: `python -m tests.chaos.program HOME`. Parts as ever, patience without end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.credentials import operator_key
from deploy.local.parts import Part
from deploy.local.places import Places
from deploy.local.plan import plan_backing
from deploy.local.ports import Ports
from deploy.local.restarts import RestartPolicy
from deploy.local.service_part import ServicePart
from deploy.local.services import SERVICES
from deploy.local.supervise import main

PROGRAM = "tests.chaos.program"
# A supervisor gives up on what dies all the time. Here it dies because we kill it.
PATIENT = RestartPolicy(first_delay_s=0.1, longest_delay_s=0.5, deaths_before_ready=10_000, deaths_after_ready=10_000)


def plan_chaos(places: Places, environ: Mapping[str, str]) -> list[Part]:
    """Every part of the stack; the services through `tests.chaos.service`."""
    operator_key(places.operator_key, places.operator_digest)
    ports = Ports(places.ports)
    backing = plan_backing(places, ports, environ, SERVICES)
    command = (sys.executable, "-m", "tests.chaos.service")
    services = [ServicePart(one, places, ports, backing, (*command, one.name)) for one in SERVICES]
    return [*backing.parts(), *services]


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    sys.exit(main(Path(sys.argv[1]), plan_chaos, PATIENT))
