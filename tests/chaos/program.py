"""The supervisor of the chaos stack: `python -m tests.chaos.program HOME`. Parts as ever, patience without end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from typing import Final

from deploy.local.parts import Part
from deploy.local.places import Places
from deploy.local.plan import plan_parts
from deploy.local.services import SERVICES, Service
from deploy.local.supervise import main
from tests.support.patient_stack import PATIENT

PROGRAM = "tests.chaos.program"
OWN_PORTS: Final = range(20_000, 32_000)


def plan_chaos(places: Places, environ: Mapping[str, str]) -> list[Part]:
    """Every part of the stack; the services through `tests.chaos.service`."""
    return plan_parts(places, environ, [_anywhere(one) for one in SERVICES], _command_of)


def _command_of(service: Service) -> Sequence[str]:
    return sys.executable, "-m", "tests.chaos.service", service.name


def _anywhere(service: Service) -> Service:
    """Return the service on ports of its own: another stack on this machine takes the usual ones of one that is down.

    They lie below those that the kernel gives to outgoing connections. Only a first choice counts; it is remembered.
    """
    port, grpc_port = SystemRandom().sample(OWN_PORTS, 2)
    return replace(service, port=port, grpc_port=grpc_port if service.grpc_port else 0)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    sys.exit(main(Path(sys.argv[1]), plan_chaos, PATIENT))
