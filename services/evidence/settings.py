"""What the evidence service is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from libs.runtime.settings import ServiceSettings


class EvidenceSettings(ServiceSettings):
    """Where the key, the published key and the kept files lie."""

    signing_key_file: Path | None = Field(
        None,
        description="the private key; made at the first start (default: secrets/evidence-signing.pem of the state)",
    )
    trust_dir: Path | None = Field(
        None, description="where the public key is written for verifiers (default: trust of the state)"
    )
    objects_dir: Path | None = Field(None, description="the object store (default: objects of the state)")
    signing_key_replaces: str = Field(
        "", description="fingerprint of a lost key that the present one replaces; needed once, at the next start"
    )

    @property
    def key_path(self) -> Path:
        """The private key's file."""
        return self.signing_key_file or self.state_dir / "secrets" / "evidence-signing.pem"

    @property
    def published_key_path(self) -> Path:
        """The public key's file."""
        return (self.trust_dir or self.state_dir / "trust") / "evidence.pub.pem"

    @property
    def objects_path(self) -> Path:
        """Our part of the object store."""
        return (self.objects_dir or self.state_dir / "objects") / "evidence"
