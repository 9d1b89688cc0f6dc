"""What a service is told by its environment. Secrets come by file, never by value."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AliasChoices, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from libs.runtime.errors import Broken
from libs.runtime.transport import plaintext_to_kafka, plaintext_to_postgres

Profile: TypeAlias = Literal["embedded", "clustered"]
KafkaProtocol: TypeAlias = Literal["SASL_PLAINTEXT", "SASL_SSL"]


def _listed(given: object) -> object:
    return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_listed)]
"""Networks by comma: `10.20.0.0/16, fd00:20::/32`."""
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
"""Words by comma."""


class ServiceSettings(BaseSettings):
    """The settings that all services share; a service adds its own in its `settings.py`. Prefix `MAESTRO_`."""

    model_config = SettingsConfigDict(env_prefix="MAESTRO_", frozen=True, extra="ignore", populate_by_name=True)

    env: str = Field("local", pattern=r"^[a-z0-9]{1,16}$", description="the <env> of API keys: local, test, live")
    profile: Profile = Field("embedded", description="clustered: servers over a network, TLS to all three")
    region: str = Field("local-1", description="stamped on everything that is handled here")
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    instance: str = Field("0", description="static membership id of this process within its consumer groups")
    state_dir: Path = Path(".maestro")
    postgres_url: str = Field("", description="postgresql://host/db; the logins are <db>_owner, <db>_api, <db>_worker")
    postgres_secrets_dir: Path | None = Field(
        None, description="holds <login>.postgres.password of each, which only we can read"
    )
    kafka_bootstrap: str = "127.0.0.1:9092"
    kafka_user: str = Field("", description="the login, by SCRAM-SHA-512; a service's is its name")
    kafka_password_file: Path | None = None
    kafka_protocol: KafkaProtocol = Field("SASL_PLAINTEXT", description="SASL_SSL: TLS; needed in a clustered profile")
    kafka_ca_file: Path | None = Field(None, description="PEM of the authorities to trust in place of the machine's")
    log_level: str = "info"
    otlp_endpoint: str = Field(
        "",
        validation_alias=AliasChoices("MAESTRO_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="address of an OTLP/HTTP collector, without a path: spans go there",
    )
    issuers_file: Path | None = Field(None, description="whose tokens are taken beside API keys (YAML or JSON)")
    actor_key_file: Path | None = Field(None, description="keys the pseudonyms of those who come with tokens")
    trusted_proxies: Networks = Field((), description="networks of proxies whose X-Forwarded-For is believed")
    outbound_allowed: Networks = Field(
        (), description="networks that HTTP requests of ours may reach beyond public ones"
    )
    outbound_plain_hosts: Names = Field((), description="hosts that may be asked by http, without TLS")
    outbound_ca_file: Path | None = Field(None, description="PEM of the authorities to trust in place of the machine's")

    @model_validator(mode="after")
    def _refuse_plaintext_to_postgres(self) -> Self:
        """Refuse to start where a network lies before the database and its certificate is not checked."""
        objection = plaintext_to_postgres(self.postgres_url) if self.postgres_url else None
        if self.profile == "clustered" and objection:
            raise ValueError(str(objection))
        return self

    @model_validator(mode="after")
    def _refuse_plaintext_to_kafka(self) -> Self:
        """Refuse to start without TLS to Kafka where the profile says that servers are reached over a network."""
        if self.profile == "clustered" and (objection := plaintext_to_kafka(self.kafka_protocol)):
            raise ValueError(str(objection))
        return self


def secret_from(path: Path | None) -> str | None:
    """Return the secret that lies in `path` (without the line end), None without a path."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise Broken(f"cannot read the secret file {path}: {error.strerror}; run `maestro doctor`") from error
