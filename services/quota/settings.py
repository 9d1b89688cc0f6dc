"""What quota is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from libs.runtime.settings import ServiceSettings


class QuotaSettings(ServiceSettings):
    """Beyond the shared ones: the limiter's store, and the catalogue."""

    redis_url: str = Field("redis://127.0.0.1:6379", description="unix:///path or redis://host:port/db, no password")
    redis_password_file: Path | None = None
    redis_patience_ms: int = Field(
        50, ge=1, description="how long a check waits for the store before it answers 503: it takes a tenth of one"
    )
    plans_file: Path = Field(
        Path(__file__).with_name("plans.yaml"), description="the catalogue; read at start, see domain/catalogue.py"
    )
