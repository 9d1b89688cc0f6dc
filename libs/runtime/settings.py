"""What a service is told by its environment. Secrets come by file, never by value."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.runtime.errors import Broken


class ServiceSettings(BaseSettings):
    """The settings that all services share; a service adds its own in its `settings.py`. Prefix `MAESTRO_`."""

    model_config = SettingsConfigDict(env_prefix="MAESTRO_", frozen=True, extra="ignore")

    env: str = Field("local", pattern=r"^[a-z0-9]{1,16}$", description="the <env> of API keys: local, test, live")
    region: str = Field("local-1", description="stamped on everything that is handled here")
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    instance: str = Field("0", description="static membership id of this process within its consumer groups")
    state_dir: Path = Path(".maestro")
    postgres_url: str = Field("", description="postgresql://role@host/db without a password")
    postgres_password_file: Path | None = None
    kafka_bootstrap: str = "127.0.0.1:9092"
    log_level: str = "info"


def secret_from(path: Path | None) -> str | None:
    """Return the secret that lies in `path` (without the line end), None without a path."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise Broken(f"cannot read the secret file {path}: {error.strerror}; run `maestro doctor`") from error
