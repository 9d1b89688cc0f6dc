"""Run metering: `python -m services.metering`."""

from __future__ import annotations

from libs.runtime.logs import start_logging
from libs.runtime.tracing import start_tracing
from libs.runtime.web import serve
from services.metering.app import create
from services.metering.settings import MeteringSettings

if __name__ == "__main__":
    settings = MeteringSettings()
    start_logging("metering", settings.log_level)
    start_tracing("metering")
    serve(create(settings), settings)
