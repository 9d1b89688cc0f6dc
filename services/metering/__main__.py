"""Run metering: `python -m services.metering`."""

from __future__ import annotations

from libs.runtime.telemetry import telemetry
from libs.runtime.web import serve
from services.metering.app import create
from services.metering.settings import MeteringSettings

if __name__ == "__main__":
    settings = MeteringSettings()
    with telemetry("metering", settings):
        serve(create(settings), settings)
