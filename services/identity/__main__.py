"""Run identity: `python -m services.identity`."""

from __future__ import annotations

from libs.runtime.telemetry import telemetry
from libs.runtime.web import serve
from services.identity.app import create
from services.identity.settings import IdentitySettings

if __name__ == "__main__":
    settings = IdentitySettings()
    with telemetry("identity", settings):
        serve(create(settings), settings)
