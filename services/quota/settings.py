"""What quota is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from libs.runtime.settings import ServiceSettings
from libs.runtime.transport import Objection

WEAKENING: Final = frozenset({"ssl_cert_reqs", "ssl_check_hostname"})  # the driver checks both unless it is told not to


class QuotaSettings(ServiceSettings):
    """Beyond the shared ones: the limiter's store, and the catalogue."""

    redis_url: str = Field("redis://127.0.0.1:6379", description="unix://user@/path or redis[s]://user@host:port")
    redis_password_file: Path | None = None
    redis_patience_ms: int = Field(
        50, ge=1, description="how long a check waits for the store before it answers 503: it takes a tenth of one"
    )
    plans_file: Path = Field(
        Path(__file__).with_name("plans.yaml"), description="the catalogue; read at start, see domain/catalogue.py"
    )

    @model_validator(mode="after")
    def _refuse_plaintext_to_valkey(self) -> Self:
        """Refuse to start where a network lies before the limiter's store and its certificate is not checked."""
        if self.profile == "clustered" and (objection := plaintext_to_valkey(self.redis_url)):
            raise ValueError(str(objection))
        return self


def plaintext_to_valkey(url: str) -> Objection | None:
    """Object where the driver would not check the server's certificate and name."""
    address = urlsplit(url)
    weakened = WEAKENING & dict(parse_qsl(address.query)).keys()
    if address.scheme == "rediss" and not weakened:
        return None
    return Objection(
        "MAESTRO_PROFILE=clustered needs TLS to Valkey",
        "MAESTRO_REDIS_URL is rediss://user@host:port, with "
        "?ssl_ca_certs=<PEM of the authority that signed the server's certificate>"
        + (f", and without {', '.join(sorted(weakened))}" if weakened else ""),
    )
