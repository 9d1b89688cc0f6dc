"""Run identity: `python -m services.identity`."""

from __future__ import annotations

from libs.runtime.logs import start_logging
from libs.runtime.tracing import start_tracing
from libs.runtime.web import serve
from services.identity.app import create
from services.identity.settings import IdentitySettings

if __name__ == "__main__":
    settings = IdentitySettings()
    start_logging("identity", settings.log_level)
    start_tracing("identity")
    serve(create(settings), settings)
