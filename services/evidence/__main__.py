"""Run evidence: `python -m services.evidence`."""

from __future__ import annotations

from libs.runtime.logs import start_logging
from libs.runtime.tracing import start_tracing
from libs.runtime.web import serve
from services.evidence.app import create
from services.evidence.settings import EvidenceSettings

if __name__ == "__main__":
    settings = EvidenceSettings()
    start_logging("evidence", settings.log_level)
    start_tracing("evidence")
    serve(create(settings), settings)
