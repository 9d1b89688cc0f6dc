"""The table of Maestro's services: what each needs and what it is told. All that starts services reads it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OPERATOR_DIGEST = "{secrets}/operator.digest.json"
OBJECTS = "{home}/objects"


@dataclass(frozen=True, slots=True)
class Service:
    """One service, started as `python -m services.<name>`, ready when `GET /readyz` answers 200.

    Each gets a port, a database and a role of its own. `settings` are further environment variables; `{home}` and
    `{secrets}` in them stand for the stack's folders. `defaults` are some that give way to the environment of
    `maestro up`. `port` is tried first, another is chosen where it is taken; so is `grpc_port`, where the service takes
    OTLP over gRPC (0: it does not).
    """

    name: str
    port: int
    owns: str
    needs: tuple[str, ...] = ("postgres", "kafka")
    settings: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    grpc_port: int = 0


SERVICES: tuple[Service, ...] = (
    Service(
        "identity",
        port=7101,
        owns="tenants and API keys",
        settings={"MAESTRO_OPERATOR_DIGEST_FILE": OPERATOR_DIGEST},
    ),
    # Not OTLP's own 4317: a Collector on the same machine listens there.
    Service(
        "metering",
        port=7102,
        owns="usage: spans and events into exact totals",
        defaults={"MAESTRO_ARCHIVE": "true"},
        grpc_port=14317,
    ),
    Service("quota", port=7103, owns="plans and decisions", needs=("postgres", "kafka", "valkey")),
    Service("invoicing", port=7104, owns="invoices and their files", settings={"MAESTRO_OBJECTS_DIR": OBJECTS}),
    Service(
        "evidence",
        port=7105,
        owns="signatures and proofs",
        settings={
            "MAESTRO_OBJECTS_DIR": OBJECTS,
            "MAESTRO_SIGNING_KEY_FILE": "{secrets}/evidence-signing.pem",
        },
    ),
)
