"""Run invoicing: `python -m services.invoicing`."""

from __future__ import annotations

from libs.runtime.telemetry import telemetry
from libs.runtime.web import serve
from services.invoicing.app import create
from services.invoicing.settings import InvoicingSettings

if __name__ == "__main__":
    settings = InvoicingSettings()
    with telemetry("invoicing", settings):
        serve(create(settings), settings)
