"""What metering is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field

from libs.runtime.errors import Broken
from libs.runtime.settings import ServiceSettings
from services.metering.domain.meters import Meters, meters_of

DEFAULT_METERS: Final = Path(__file__).parent / "meters.yaml"


class MeteringSettings(ServiceSettings):
    """Beyond the shared ones: which meters are in force, and where OTLP comes in over gRPC."""

    meters_file: Path = Field(DEFAULT_METERS, description="YAML, one document of `kind: Meter` for each meter")
    otlp_grpc_port: int | None = Field(None, ge=0, le=65535, description="OTLP over gRPC; off where it is not set")


def meters_in_force(settings: MeteringSettings) -> Meters:
    """Return the meters of the settings' file; raise BadMeter, or Broken where there is no such file."""
    try:
        text = settings.meters_file.read_text(encoding="utf-8")
    except OSError as error:
        raise Broken(f"cannot read the meters in {settings.meters_file}: {error.strerror}") from error
    return meters_of(text)
