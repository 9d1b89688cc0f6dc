"""The HTTP API of metering: a router for each thing that is asked."""

from __future__ import annotations

from typing import Final

from libs.runtime.json_bodies import StrictRouter
from services.metering.api import corrections, events, explaining, meter_usage, meters, usage

ROUTERS: Final[tuple[StrictRouter, ...]] = (
    *(usage.router, events.router, explaining.router, corrections.router),
    *(meters.router, meter_usage.router),
)
