"""Run quota: `python -m services.quota`."""

from __future__ import annotations

from libs.runtime.logs import start_logging
from libs.runtime.tracing import start_tracing
from libs.runtime.web import serve
from services.quota.app import create
from services.quota.settings import QuotaSettings

if __name__ == "__main__":
    settings = QuotaSettings()
    start_logging("quota", settings.log_level)
    start_tracing("quota")
    serve(create(settings), settings)
