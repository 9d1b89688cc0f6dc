"""Run invoicing: `python -m services.invoicing`."""

from __future__ import annotations

from libs.runtime.logs import start_logging
from libs.runtime.tracing import start_tracing
from libs.runtime.web import serve
from services.invoicing.app import create
from services.invoicing.settings import InvoicingSettings

if __name__ == "__main__":
    settings = InvoicingSettings()
    start_logging("invoicing", settings.log_level)
    start_tracing("invoicing")
    serve(create(settings), settings)
