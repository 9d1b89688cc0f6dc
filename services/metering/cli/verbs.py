"""What verbs of `maestro usage` share: where their servers are."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from libs.runtime.settings import ServiceSettings
from services.metering.settings import MeteringSettings

SettingsOf = Callable[[str | None], ServiceSettings]
AddVerb = Callable[..., argparse.ArgumentParser]
"""`add_parser` of argparse's sub-commands."""


def from_environment(_service: str | None) -> ServiceSettings:
    """Return what the environment says."""
    return ServiceSettings()


def metering_settings(told: ServiceSettings) -> MeteringSettings:
    """Return metering's settings: where its servers are as `told`, the rest from the environment."""
    return MeteringSettings(**{name: getattr(told, name) for name in ServiceSettings.model_fields})
