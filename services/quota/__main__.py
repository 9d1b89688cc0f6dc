"""Run quota: `python -m services.quota`."""

from __future__ import annotations

from libs.runtime.telemetry import telemetry
from libs.runtime.web import serve
from services.quota.app import create
from services.quota.settings import QuotaSettings

if __name__ == "__main__":
    settings = QuotaSettings()
    with telemetry("quota", settings):
        serve(create(settings), settings)
