"""What metering is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from libs.access.keys import KEY_ID
from libs.runtime.errors import Broken
from libs.runtime.settings import ServiceSettings
from libs.schemas.values import TenantId
from services.metering.domain.foreign import EVENTS_TOPIC, SPANS_TOPIC
from services.metering.domain.meters import Meters, meters_of

KEY_ID_OR_NONE: Final = rf"^({KEY_ID.pattern})?$"
DEFAULT_METERS: Final = Path(__file__).parent / "meters.yaml"


class MeteringSettings(ServiceSettings):
    """Beyond the shared ones: which meters are in force, where OTLP comes in over gRPC, in whose name by Kafka.

    A foreign topic without a key is not read. All processes of metering are to be told the same.
    """

    meters_file: Path = Field(DEFAULT_METERS, description="YAML, one document of `kind: Meter` for each meter")
    otlp_grpc_port: int | None = Field(None, ge=0, le=65535, description="OTLP over gRPC; off where it is not set")
    usage_events_key_id: str = Field("", pattern=KEY_ID_OR_NONE, description="edge key that usage-events is bound to")
    runs_dir: Path | None = Field(None, description="cache of event ids, mapped (default: metering/runs of the state)")
    otlp_spans_key_id: str = Field("", pattern=KEY_ID_OR_NONE, description="edge key that otlp_spans is bound to")
    archive: bool = Field(False, description="keep every event in files; `maestro up` says yes")
    archive_dir: Path | None = Field(None, description="where these lie; by default `archive` in the state folder")
    archive_max_bytes: int = Field(
        64 * 1024 * 1024, ge=1, description="a lot of events is written once it takes so much memory; files are smaller"
    )
    archive_max_age_s: float = Field(60.0, gt=0, description="a lot is written after so long, however little it holds")

    fair_share: bool = Field(True, description="let no tenant put much more than its share in front of others")
    first_waiting_events: int = Field(
        30_000,
        ge=1,
        description="events that may wait for shard owners before their speed is known: three seconds of the slowest",
    )
    most_diverted_events: int = Field(
        2_000_000, ge=1, description="events of a tenant that may wait on usage-overflow before edges answer 429"
    )
    tenant_weights: dict[TenantId, Annotated[int, Field(ge=1, le=1_000)]] = Field(
        {}, description="JSON: shares of tenants that are to have more than one"
    )

    @property
    def archive_folder(self) -> Path:
        """Where the archive lies."""
        return self.archive_dir or self.state_dir / "archive"

    @property
    def readable_archive(self) -> Path | None:
        """Where the archive is read for explanations: here, or where another process is told to keep it. Or nowhere."""
        return self.archive_folder if self.archive or self.archive_dir is not None else None

    @property
    def runs_path(self) -> Path:
        """The folder that is this process's own, on a disk: what lies there can be made again."""
        return (self.runs_dir or self.state_dir / "metering" / "runs") / self.instance

    @property
    def bound_topics(self) -> dict[str, str]:
        """The public id of the key of every topic that is bound to one."""
        keys = {EVENTS_TOPIC: self.usage_events_key_id, SPANS_TOPIC: self.otlp_spans_key_id}
        return {topic: key_id for topic, key_id in keys.items() if key_id}


def meters_in_force(settings: MeteringSettings) -> Meters:
    """Return the meters of the settings' file; raise BadMeter, or Broken where there is no such file."""
    try:
        text = settings.meters_file.read_text(encoding="utf-8")
    except OSError as error:
        raise Broken(f"cannot read the meters in {settings.meters_file}: {error.strerror}") from error
    return meters_of(text)
