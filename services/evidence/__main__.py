"""Run evidence: `python -m services.evidence`."""

from __future__ import annotations

from libs.runtime.telemetry import telemetry
from libs.runtime.web import serve
from services.evidence.app import create
from services.evidence.settings import EvidenceSettings

if __name__ == "__main__":
    settings = EvidenceSettings()
    with telemetry("evidence", settings):
        serve(create(settings), settings)
